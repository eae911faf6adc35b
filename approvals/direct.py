"""Calls that wait for nobody: forwarded with the stored credential, or relayed with the agent's own."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.authentication import Caller
from approvals.binding import Form
from approvals.concurrency import at_platform, under_way
from approvals.envelope import meta
from approvals.idempotency import KeyClaim
from approvals.sending import CannotSend, send, send_with
from approvals.written import outcome_on_record, until_written
from audit.events import JSON, Event, Result
from audit.records import record
from crash_points import Point, crash_point
from notifications.sweeping import going_on
from platforms.client import PlatformResponse, PlatformUnreachable
from platforms.coverage import Coverage, Disclosure
from platforms.credentials import Auth
from platforms.usage import note_use

logger = logging.getLogger(__name__)
_PATIENCE = 5.0  # seconds in which an agent waits for the record of its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedCall:
    """A call that goes out with the agent's own credential. `scope` is the agent's word for it, for the record."""

    platform: str
    scope: str
    method: str
    endpoint: str
    url: str
    auth: Auth
    content_type: str
    is_mcp: bool
    body: str | None


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

    def begin(self, *, now: datetime, **metadata: str) -> None:
        """Commit the intent. Raises KeyRefused, with nothing on record, where another request holds the key by now."""
        with transaction.atomic(durable=True):
            if self.claim is not None:
                self.claim.sending(now)
            self.record(Event.ACTION_SENDING, Result.INFO, now=now, reason="", **metadata)

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


def forward(
    *,
    caller: Caller,
    form: Form,
    coverage: Coverage,
    request_id: UUID,
    now: datetime,
    claim: KeyClaim | None = None,
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Make a call that needs nobody's approval; returns the answer and its `_meta`.

    Intent and outcome are both on record, each in a transaction of its own: no network inside one. Under a `claim`
    they are on the row of the agent's Idempotency-Key too, in the same transactions.

    Raises:
        KeyRefused: the key is another request's by now; nothing was sent.
        ApiError: 429, too many calls are under way; 503, the platform's circuit is open. Nothing was sent.
        PlatformUnreachable: no answer came.
        CannotSend: it was not sent.
    """
    log = CallLog(
        caller=caller,
        request_id=request_id,
        platform=form.platform,
        scope=form.scope,
        method=form.method,
        endpoint=form.endpoint,
        claim=claim,
    )
    with (
        under_way(caller, request_id=request_id, now=now),
        at_platform(caller, platform=form.platform, request_id=request_id, now=now) as place,
        log.failures(),
    ):
        log.begin(now=now, connection_id=form.connection_id)
        response = place.answered(send(form, coverage, timeout=settings.DIRECT_TIMEOUT, fresh=claim is not None))
        answer_meta = log.end(Event.ACTION_ALLOWED, response, disclosure=coverage.disclosure)
    with going_on(logger, f"noting the use of a connection by request {request_id}"):
        note_use(connection_id=coverage.connection_id, upstream_status=response.status, now=timezone.now())
    return response, answer_meta


def relay(
    *, caller: Caller, call: ObservedCall, credential: str, request_id: UUID, now: datetime
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Make a call with a credential that the agent has sent along; on record like `forward`, and raises alike."""
    log = CallLog(
        caller=caller,
        request_id=request_id,
        platform=call.platform,
        scope=call.scope,
        method=call.method,
        endpoint=call.endpoint,
    )
    with (
        under_way(caller, request_id=request_id, now=now),
        at_platform(caller, platform=call.platform, request_id=request_id, now=now) as place,
        log.failures(),
    ):
        log.begin(now=now, mode="observe")
        response = send_with(
            call.auth,
            credential,
            method=call.method,
            url=call.url,
            body=call.body,
            content_type=call.content_type,
            is_mcp=call.is_mcp,
            timeout=settings.DIRECT_TIMEOUT,
        )
        place.answered(response)
        answer_meta = log.end(Event.ACTION_OBSERVED, response)
    return response, answer_meta
