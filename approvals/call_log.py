"""The audit rows of a call that waits for nobody: its intent, after the rights were read again, and its outcome."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.authentication import Caller
from approvals.envelope import meta
from approvals.idempotency import KeyClaim
from approvals.sending import CannotSend
from approvals.written import outcome_on_record
from audit.events import JSON, Event, Result
from audit.records import record
from crash_points import Point, crash_point
from platforms.client import PlatformResponse, PlatformUnreachable
from platforms.coverage import Disclosure
from platforms.written import until_written

_T = TypeVar("_T")
_PATIENCE = 5.0  # seconds in which an agent waits for the record of its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLog:
    """The audit rows of one call that waits for nobody."""

    caller: Caller
    request_id: UUID
    platform: str
    scope: str
    method: str
    endpoint: str
    claim: KeyClaim | None = None

    def record(self, event: Event, result: Result, *, now: datetime, reason: str = "", **metadata: JSON) -> UUID:
        """In the caller's transaction."""
        return record(
            event=event,
            result=result,
            owner_id=self.caller.owner_id,
            actor=self.caller.actor,
            now=now,
            request_id=self.request_id,
            agent_id=self.caller.agent_id,
            agent_name=self.caller.agent_name,
            platform=self.platform,
            action=self.scope,
            session_id=self.caller.session_id,
            reason=reason,
            metadata={"method": self.method, "endpoint": self.endpoint, **metadata},
        )

    def begin(self, read_again: Callable[[], _T], *, now: datetime, **metadata: str) -> _T:
        """Commit the intent; returns what `read_again` does.

        It reads what the call rests on once the row of the intent holds the head of the owner's chain: a revocation
        that is on record before the intent is seen, and stops the call. Then the intent is taken back, too.

        Raises KeyRefused, with nothing on record, where another request holds the key by now; what `read_again` raises.
        """
        with transaction.atomic(durable=True):
            if self.claim is not None:
                self.claim.sending(now)
            self.record(Event.ACTION_SENDING, Result.INFO, now=now, reason="", **metadata)
            return read_again()

    def end(self, event: Event, response: PlatformResponse, *, disclosure: Disclosure | None = None) -> dict[str, JSON]:
        """Commit the answer, also if the database goes away for a moment; returns its `_meta`."""
        crash_point(Point.AFTER_RESPONSE, self.request_id)
        now = timezone.now()

        def answered(audit_id: UUID) -> dict[str, JSON]:
            return meta(
                audit_id=audit_id,
                correlation_id=self.request_id,
                upstream_status=response.status,
                now=now,
                disclosure=disclosure,
            )

        def found() -> dict[str, JSON] | None:
            audit_id = outcome_on_record(self.caller.owner_id, self.request_id, event)
            return None if audit_id is None else answered(audit_id)

        def write() -> dict[str, JSON]:
            return self._write_answer(event, response, answered, now=now)

        return until_written(write, found=found, patience=_PATIENCE)

    def _write_answer(
        self,
        event: Event,
        response: PlatformResponse,
        answered: Callable[[UUID], dict[str, JSON]],
        *,
        now: datetime,
    ) -> dict[str, JSON]:
        result = Result.ALLOWED if response.status < 400 else Result.ERROR
        with transaction.atomic(durable=True):
            answer_meta = answered(self.record(event, result, now=now, response_status=response.status))
            if self.claim is not None:
                self.claim.answered(response, answer_meta, now=now)
            crash_point(Point.BEFORE_OUTCOME_COMMIT, self.request_id)
        return answer_meta

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Puts on record that no answer came."""
        try:
            yield
        except PlatformUnreachable as error:
            now = timezone.now()
            with transaction.atomic(durable=True):
                self.record(Event.ACTION_FAILED, Result.ERROR, now=now, reason=error.code)
                if self.claim is not None:
                    self.claim.failed(error, now=now)
            raise
        except CannotSend as error:
            with transaction.atomic(durable=True):
                self.record(Event.ACTION_FAILED, Result.ERROR, now=timezone.now(), reason=error.reason)
                if self.claim is not None:
                    self.claim.give_back(sent=True)
            raise
