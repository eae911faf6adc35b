"""From approved to done: the claim that commits the intent to send, and the one outcome. No network in here."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from approvals.binding import Form, Tampered
from approvals.checks import UNCHECKED, checked
from approvals.envelope import Answer, meta
from approvals.late_answers import note_late
from approvals.models import ApprovalRequest, Decision
from approvals.outcome_record import OUTCOME, outcome_digest
from approvals.rights import START_WITHIN, RightLost
from approvals.rows import (
    SYSTEM,
    hold_queue_and_head,
    locked,
    locked_rows,
    record_change,
    save_changes,
)
from audit.events import JSON, Event, Result
from crash_points import Point, crash_point
from notifications.sweeping import going_on
from platforms.coverage import Coverage

logger = logging.getLogger(__name__)

OUTCOME_UNKNOWN = (
    "outcome unknown: the call was begun and its answer was lost. It is not sent again by itself; check on the"
    " platform."
)


class NotRunnable(Exception):
    """Somebody else runs or ran it, or it was never approved. Nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to send one call, once. It exists only after its intent has been committed."""

    approval: ApprovalRequest
    form: Form
    coverage: Coverage


def lease() -> timedelta:
    """How long a begun call may go without an outcome before it counts as unknown."""
    return timedelta(seconds=settings.APPROVED_TIMEOUT + settings.LEASE_MARGIN)


def patience() -> timedelta:
    """How long an approved call may wait for its platform and its access token."""
    return min(timedelta(seconds=settings.PLATFORM_WAIT), START_WITHIN)


class Waiting(NamedTuple):
    """What a call needs before it can begin. Not locked: `claim` looks again."""

    owner_id: UUID
    platform: str
    connection_id: UUID


def waiting(approval_id: UUID) -> Waiting | None:
    """An approved call that nobody has begun."""
    rows = ApprovalRequest.objects.unclaimed().filter(pk=approval_id)
    found = rows.values_list(*Waiting._fields).first()
    return None if found is None else Waiting(*found)


def turn_away(*, approval_id: UUID, why: str, reason: str, now: datetime) -> None:
    """End a call that its platform or its token URL has let wait for AGENTVALET_PLATFORM_WAIT; before, let it wait.

    `why` is one sentence, `reason` its code. What was tampered with, or has lost a right, ends with that instead.
    """
    with transaction.atomic(durable=True):
        row = locked_rows().unclaimed().filter(pk=approval_id, decided_at__lte=now - patience()).first()
        if row is None:
            return
        hold_queue_and_head(row.owner_id)
        try:
            checked(row, now=now)
        except (Tampered, RightLost) as error:
            _refuse(row, error, now=now)
            return
        minutes = round(patience().total_seconds() / 60, 1)
        _fail(row, f"{why} The call waited {minutes:g} minutes for it. Nothing was sent.", now=now, reason=reason)


def claim(*, approval_id: UUID, now: datetime) -> Claim:
    """Commit the intent to send, after everything the call rests on has been read again.

    Every revocation is on record, so the head of the audit chain is held before anything is read: a right that was
    taken away in a row before this one is seen to be gone, and one that is taken away after it comes too late. Waits
    for whoever is about to record for the owner.

    A row that fails a check is finished here with its `execution_error`; nothing was or will be sent for it.

    Raises:
        NotRunnable: another worker has it, it has an outcome, or it is not approved.
        Tampered: row or decision were changed behind our back.
        RightLost: agent, grant, connection, credential or decider are no longer what they were, or it is too late.
    """
    refusal: Tampered | RightLost | None = None
    with transaction.atomic(durable=True):
        approval = locked(approval_id)
        if (
            approval.decision != Decision.APPROVED
            or approval.execution_started_at is not None
            or approval.executed_at is not None
        ):
            raise NotRunnable
        hold_queue_and_head(approval.owner_id)
        try:
            form, coverage = checked(approval, now=now)
        except (Tampered, RightLost) as error:
            refusal = error
            _refuse(approval, error, now=now)
        else:
            approval.execution_started_at = now
            save_changes(approval, "execution_started_at")
            record_change(
                approval,
                Event.APPROVAL_SENDING,
                Result.INFO,
                actor=SYSTEM,
                now=now,
                metadata={"url": form.url},
            )
        crash_point(Point.BEFORE_INTENT_COMMIT, approval_id)
    if refusal is not None:
        raise refusal
    return Claim(approval=approval, form=form, coverage=coverage)


def finish(*, approval_id: UUID, answer: Answer, now: datetime) -> None:
    """Record the platform's answer. A 5xx is an `execution_error` too, for people; the agent gets the answer itself.

    A row that counts as unknown by now keeps that outcome, which its agent may have read; see `note_late`. Called again
    with the same answer, because the first commit was not acknowledged, it changes nothing.
    """
    with transaction.atomic(durable=True):
        approval = locked(approval_id)
        if approval.executed_at is not None:
            note_late(approval, answer, now=now)
            return
        audit_id = uuid4()
        answer_meta = meta(
            audit_id=audit_id,
            correlation_id=approval.request_id,
            upstream_status=answer.status,
            now=now,
            disclosure=approval.disclosure,
        )
        approval.executed_at = now
        approval.result_status = answer.status
        approval.result_json = answer.outcome(answer_meta)
        if answer.status >= 500:
            approval.execution_error = f"The platform answered {answer.status}."
        save_changes(approval, "executed_at", "result_status", "result_json", "execution_error")
        record_change(
            approval,
            Event.APPROVAL_EXECUTED,
            Result.ALLOWED if answer.status < 400 else Result.ERROR,
            actor=SYSTEM,
            now=now,
            metadata={"response_status": answer.status, "late": False, OUTCOME: outcome_digest(approval)},
            audit_id=audit_id,
        )
        crash_point(Point.BEFORE_OUTCOME_COMMIT, approval_id)


def fail(*, approval_id: UUID, error: str, reason: str, now: datetime) -> None:
    """Record that the call has no answer. `error` is one sentence for people and agents, `reason` its code."""
    with transaction.atomic(durable=True):
        approval = locked(approval_id)
        if approval.executed_at is None:
            _fail(approval, error, now=now, reason=reason)


def lose(*, approval_id: UUID, error: str, reason: str, now: datetime) -> None:
    """Record that the call may have reached the platform and its answer is lost; it is never sent again."""
    with transaction.atomic(durable=True):
        approval = locked(approval_id)
        if approval.executed_at is None:
            _fail(
                approval,
                error,
                now=now,
                event=Event.APPROVAL_OUTCOME_UNKNOWN,
                result=Result.UNKNOWN,
                reason=reason,
                unknown=True,
            )


def give_up_lost(*, now: datetime, limit: int = 500) -> int:
    """End what was begun and never came back: its worker died. Returns how many rows.

    A beginning that lies ahead by more than a lease was written down before the clock was put back: nobody can tell how
    long ago that was, and nobody waits until the clock has caught up.
    """
    too_long = Q(execution_started_at__lte=now - lease()) | Q(execution_started_at__gt=now + lease())
    begun = ApprovalRequest.objects.in_flight().filter(too_long)
    given_up = 0
    for pk in begun.values_list("pk", flat=True)[:limit]:
        with going_on(logger, f"giving up approval {pk}"):
            lose(approval_id=pk, error=OUTCOME_UNKNOWN, reason="worker_lost", now=now)
            given_up += 1
    return given_up


def _refuse(approval: ApprovalRequest, refusal: Tampered | RightLost, *, now: datetime) -> None:
    """End a call that must not be sent. The caller holds the row's lock and has seen that it has no outcome."""
    if isinstance(refusal, Tampered):
        sentence = f"Refused: {refusal}. Nothing was sent."
        _fail(approval, sentence, now=now, event=Event.APPROVAL_TAMPERED, result=Result.DENIED)
        return
    result = Result.ERROR if refusal.reason == UNCHECKED else Result.DENIED
    _fail(approval, f"{refusal} Nothing was sent.", now=now, result=result, reason=refusal.reason)


def _fail(
    approval: ApprovalRequest,
    error: str,
    *,
    now: datetime,
    event: Event = Event.APPROVAL_FAILED,
    result: Result = Result.ERROR,
    reason: str = "",
    unknown: bool = False,
) -> None:
    """The caller holds the row's lock and has seen that it has no outcome."""
    approval.executed_at = now
    approval.execution_error = error
    approval.outcome_unknown = unknown
    save_changes(approval, "executed_at", "execution_error", "outcome_unknown")
    facts: dict[str, JSON] = {"error": error, OUTCOME: outcome_digest(approval)}
    record_change(approval, event, result, actor=SYSTEM, now=now, reason=reason, metadata=facts)
