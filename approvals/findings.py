"""What came out later about a call whose outcome is unknown: on the row and in the audit log, in one step."""

from datetime import datetime

from approvals.models import ApprovalRequest, Finding
from approvals.rows import record_change, save_changes
from audit.events import JSON, Actor, Event, Result


def record_finding(
    approval: ApprovalRequest,
    found: Finding,
    *,
    note: str,
    actor: Actor,
    member_id: str,
    now: datetime,
    metadata: dict[str, JSON] | None = None,
) -> None:
    """`member_id` is "" where no person has looked.

    The caller holds the row's lock, and has seen whether an earlier finding stands.
    """
    approval.outcome_found = found
    approval.outcome_note = note
    approval.outcome_checked_at = now
    approval.outcome_checked_by_id, approval.outcome_checked_by = member_id, actor.label
    columns = ("outcome_found", "outcome_note", "outcome_checked_at", "outcome_checked_by_id", "outcome_checked_by")
    save_changes(approval, *columns)
    record_change(
        approval,
        Event.APPROVAL_OUTCOME_CHECKED,
        Result.INFO,
        actor=actor,
        now=now,
        reason=note,
        metadata={"found": found.value, **(metadata or {})},
    )
