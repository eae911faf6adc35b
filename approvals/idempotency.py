"""An agent's own `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same key makes a call once.

The key is claimed by one committed row before anything else happens, and no lock is held while a platform is called.
A process that dies leaves a row that says how far it came: before the intent to send, the next request with the key
takes over; after it, the outcome is unknown and the call is never sent again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from agents.authentication import Caller
from agents.throttling import check_rate
from approvals.envelope import compact
from approvals.keyed_calls import KeyedCall, KeyedCallQuerySet
from approvals.models import ApprovalRequest
from audit.events import JSON, Event, Result
from audit.models import AuditEvent
from audit.records import record
from platforms.client import PlatformResponse, PlatformUnreachable, UnreachableCode

KEPT = timedelta(hours=24)
MOST_KEPT_BYTES = 256 * 1024  # of one answer; what is longer is remembered without its body
_UNKNOWN = "outcome_unknown"


class KeyRefused(Exception):
    """The key cannot be used for this call. `code` is for programs, the text one sentence."""

    def __init__(self, code: str, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.retry_after = retry_after


class OutcomeUnknown(Exception):
    """The server stopped in the middle of the call with this key. It is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyClaim:
    """A key that this request holds. Each change is guarded: after a takeover it raises, or does nothing."""

    row_id: int
    request_id: UUID

    def queued(self, approval: ApprovalRequest) -> None:
        """The call waits for a person: from now on the key stands for this approval. In the caller's transaction.

        Raises:
            KeyRefused: another request has taken the key over.
        """
        self._still_mine(approval=approval)

    def sending(self, now: datetime) -> None:
        """The call is about to leave. In the transaction that puts the intent on record; raises as `queued` does."""
        self._still_mine(sending_at=now)

    def answered(self, response: PlatformResponse, meta: Mapping[str, JSON], *, now: datetime) -> None:
        """Keep the platform's answer, with the audit row of the outcome."""
        self._end(
            answered_at=now,
            status=response.status,
            headers=dict(response.headers),
            body=response.body if len(response.body) <= MOST_KEPT_BYTES else None,
            meta=compact(meta),
        )

    def failed(self, error: PlatformUnreachable, *, now: datetime) -> None:
        """No answer came. What has certainly not left may be tried again with the same key."""
        if error.may_have_been_sent:
            self._end(answered_at=now, error_code=error.code, error=str(error))
        else:
            self.give_back(sent=True)

    def give_back(self, *, sent: bool = False) -> None:
        """Nothing has reached a platform: the key is free again. With `sent`, also after the intent was recorded."""
        mine = self._mine().filter(approval=None, answered_at=None)
        (mine if sent else mine.filter(sending_at=None)).delete()

    def _mine(self) -> KeyedCallQuerySet:
        return KeyedCall.objects.filter(pk=self.row_id, request_id=self.request_id)

    def _still_mine(self, **change: object) -> None:
        if not self._mine().filter(approval=None, sending_at=None).update(**change):
            raise _in_progress()

    def _end(self, **outcome: object) -> None:
        self._mine().filter(answered_at=None).update(**outcome)


def fingerprint_of(asked: Mapping[str, object]) -> str:
    """What "the same call" means: every field as it was understood, whatever the white space of the request."""
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def take_key(
    *, caller: Caller, key: str, fingerprint: str, request_id: UUID, now: datetime
) -> "KeyClaim | ApprovalRequest | tuple[PlatformResponse, dict[str, JSON]]":
    """Claim the key; or, where it was used for the same call before, what came of that.

    Raises:
        KeyRefused: the key was used for another call, its call is under way, or its answer was too long to keep.
        PlatformUnreachable: no answer came then, and the call may have been sent.
        OutcomeUnknown: the server stopped in the middle of it.
        ApiError: 429, AGENTVALET_IDEMPOTENCY_KEYS_PER_DAY of the agent and its children are used up.
    """
    key_hash = hashlib.sha256(key.encode()).hexdigest()
    rows = KeyedCall.objects.for_agent(caller.agent_id).filter(key_hash=key_hash)
    if not rows.filter(claimed_at__gt=now - KEPT).exists():
        check_rate(
            key=f"keys:{caller.family}",
            limit=settings.IDEMPOTENCY_KEYS_PER_DAY,
            per_seconds=24 * 3600,
            now=now,
        )
        with transaction.atomic(durable=True):
            rows.filter(claimed_at__lte=now - KEPT).delete()
            claimed = _insert(caller.agent_id, key_hash, fingerprint, request_id, now)
        if claimed is not None:
            return KeyClaim(row_id=claimed, request_id=request_id)
    row = rows.select_related("approval").defer("approval__form", "approval__result_json").first()
    if row is None:  # given back in this very moment
        raise _in_progress()
    if row.fingerprint != fingerprint:
        raise KeyRefused("idempotency_key_reused", "This Idempotency-Key was used for another call: take a new one.")
    return _what_came_of(row, caller=caller, request_id=request_id, now=now)


def _insert(agent_id: str, key_hash: str, fingerprint: str, request_id: UUID, now: datetime) -> int | None:
    """The id of the new row; None if another request has been first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO approvals_keyedcall"
            " (agent_id, key_hash, fingerprint, request_id, claimed_at, meta, error_code, error)"
            " VALUES (%s, %s, %s, %s, %s, '', '', '')"
            " ON CONFLICT (agent_id, key_hash) DO NOTHING RETURNING id",
            [agent_id, key_hash, fingerprint, request_id, now],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None


def _what_came_of(
    row: KeyedCall, *, caller: Caller, request_id: UUID, now: datetime
) -> "KeyClaim | ApprovalRequest | tuple[PlatformResponse, dict[str, JSON]]":
    if row.approval is not None:
        return row.approval
    if row.answered_at is not None:
        return _kept_answer(row)
    lease = timedelta(seconds=settings.DIRECT_TIMEOUT + settings.LEASE_MARGIN)
    begun = row.sending_at or row.claimed_at
    if begun - lease < now < begun + lease:  # one further ahead was begun before the clock was put back
        raise _in_progress()
    if row.sending_at is not None:
        _give_up(row, caller=caller, now=now)
        raise OutcomeUnknown
    taken_over = KeyedCall.objects.filter(
        pk=row.pk, request_id=row.request_id, claimed_at=row.claimed_at, approval=None, sending_at=None
    ).update(request_id=request_id, claimed_at=now)
    if not taken_over:
        raise _in_progress()
    return KeyClaim(row_id=row.pk, request_id=request_id)


def _kept_answer(row: KeyedCall) -> tuple[PlatformResponse, dict[str, JSON]]:
    if row.error_code == _UNKNOWN:
        raise OutcomeUnknown
    if row.status is None:
        raise PlatformUnreachable(row.error, code=cast(UnreachableCode, row.error_code), may_have_been_sent=True)
    if row.body is None:
        raise KeyRefused(
            "idempotency_answer_not_kept",
            f"This call was made and the platform answered {row.status}; the answer was longer than the"
            f" {MOST_KEPT_BYTES} bytes that are kept. It is not sent again.",
        )
    return PlatformResponse(status=row.status, headers=row.headers or {}, body=bytes(row.body)), json.loads(row.meta)


def _give_up(row: KeyedCall, *, caller: Caller, now: datetime) -> None:
    """End a call whose process is gone, once, on record under the request that sent it."""
    with transaction.atomic(durable=True):
        ended = KeyedCall.objects.filter(pk=row.pk, request_id=row.request_id, answered_at=None).update(
            answered_at=now, error_code=_UNKNOWN
        )
        if ended:
            sent = AuditEvent.objects.for_owner(caller.owner_id).filter(
                request_id=row.request_id, event=Event.ACTION_SENDING
            ).first()  # fmt: skip
            record(
                event=Event.ACTION_FAILED,
                result=Result.UNKNOWN,
                owner_id=caller.owner_id,
                actor=caller.actor,
                now=now,
                request_id=row.request_id,
                agent_id=caller.agent_id,
                agent_name=caller.agent_name,
                session_id=caller.session_id,
                reason=_UNKNOWN,
                platform=sent.platform if sent else "",
                action=sent.action if sent else "",
                metadata={name: sent.metadata[name] for name in ("method", "endpoint")} if sent else {},
            )


def _in_progress() -> KeyRefused:
    return KeyRefused(
        "idempotency_in_progress", "The first call with this Idempotency-Key is still under way.", retry_after=1
    )


def prune(*, now: datetime) -> None:
    """Forget keys after their day. What their calls did is in the audit log."""
    KeyedCall.objects.filter(claimed_at__lte=now - KEPT).delete()
