"""An answer that came after its call was given up: the outcome stays, and what the platform said is a finding."""

from datetime import datetime

from approvals.envelope import Answer
from approvals.findings import record_finding
from approvals.models import ApprovalRequest, Finding
from approvals.rows import SYSTEM, record_change
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
    record_change(
        approval,
        Event.APPROVAL_EXECUTED,
        Result.ALLOWED if answer.status < 400 else Result.ERROR,
        actor=SYSTEM,
        now=now,
        metadata={"response_status": answer.status, "late": True},
    )
    if approval.outcome_unknown and 200 <= answer.status < 300:
        note = f"Its answer came late: {answer.status}."
        record_finding(
            approval, Finding.HAPPENED, note=note, actor=SYSTEM, member_id="", now=now, metadata={"late": True}
        )
