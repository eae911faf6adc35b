"""An answer that came after its call was given up: the outcome stays, and what the platform said is a finding."""

from datetime import datetime

from approvals.envelope import Answer
from approvals.models import ApprovalRequest, Finding
from approvals.rows import SYSTEM, record_change, save_changes
from audit.events import Event, Result
from audit.models import AuditEvent


def note_late(approval: ApprovalRequest, answer: Answer, *, now: datetime) -> None:
    """Put the answer on record, once. A 2xx says that the call happened, whatever a person thought to have found.

    Any other answer decides nothing: who looks on the platform finds it in the story of the call. The caller holds the
    row's lock and has seen that it has an outcome.
    """
    told = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk)
    if told.filter(event=Event.APPROVAL_EXECUTED).exists():
        return  # written before; only the word that it was committed got lost
    happened = approval.outcome_unknown and 200 <= answer.status < 300
    if happened:
        approval.outcome_found = Finding.HAPPENED
        approval.outcome_note = f"Its answer came late: {answer.status}."
        approval.outcome_checked_at = now
        approval.outcome_checked_by_id, approval.outcome_checked_by = "", SYSTEM.label
        save_changes(
            approval,
            "outcome_found",
            "outcome_note",
            "outcome_checked_at",
            "outcome_checked_by_id",
            "outcome_checked_by",
        )
    record_change(
        approval,
        Event.APPROVAL_EXECUTED,
        Result.ALLOWED if answer.status < 400 else Result.ERROR,
        actor=SYSTEM,
        now=now,
        metadata={"response_status": answer.status, "late": True},
    )
    if happened:
        record_change(
            approval,
            Event.APPROVAL_OUTCOME_CHECKED,
            Result.INFO,
            actor=SYSTEM,
            now=now,
            reason=approval.outcome_note,
            metadata={"found": Finding.HAPPENED.value, "late": True},
        )
