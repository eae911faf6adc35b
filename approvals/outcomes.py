"""What a person found on the platform about a call whose outcome is unknown. The first finding stands."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.models import Member
from approvals.findings import record_finding
from approvals.models import ApprovalRequest, Decision, Finding
from approvals.rows import locked
from audit.events import Actor

_TOLD = {
    Finding.HAPPENED: "A person has looked on the platform since: the call happened.",
    Finding.NOT_HAPPENED: "A person has looked on the platform since: the call did not happen.",
}
_ANSWERED_LATE = "The platform's answer came late: the call happened."


class NothingToCheck(Exception):
    """The outcome of this call is not unknown."""


class AlreadyChecked(Exception):
    """Somebody was first. `approval` says who, and what they found."""

    def __init__(self, approval: ApprovalRequest) -> None:
        super().__init__(f"{approval.pk} was checked: {approval.outcome_found}")
        self.approval = approval


def check(*, member: Member, approval_id: UUID, found: Finding, note: str, now: datetime) -> ApprovalRequest:
    """Record the finding on the row and in the audit log.

    Raises:
        ApprovalRequest.DoesNotExist: not a row of the member's owner.
        NothingToCheck, AlreadyChecked
    """
    with transaction.atomic(durable=True):
        approval = locked(approval_id, member.owner)
        if not approval.outcome_unknown:
            raise NothingToCheck
        if approval.outcome_checked_at is not None:
            raise AlreadyChecked(approval)
        actor = Actor("member", str(member.user_id), member.user.email)
        record_finding(approval, found, note=note, actor=actor, member_id=str(member.pk), now=now)
    return approval


def error_for_agent(approval: ApprovalRequest) -> str:
    """The `execution_error` of the agent API: why there is no result, or why it was denied; "" for neither.

    A finding is one more sentence of the same text: clients know no other field, and some refuse what they do not
    know. The note is for people.
    """
    if approval.decision == Decision.DENIED:
        return approval.deny_reason
    error = approval.execution_error or ""
    if not approval.outcome_found:
        return error
    by_person = approval.outcome_checked_by_id != ""
    return f"{error} {_TOLD[Finding(approval.outcome_found)] if by_person else _ANSWERED_LATE}"
