"""Deciding with a passkey: the device signs this call, this decision, this once."""

from datetime import datetime
from uuid import UUID

from agents.models import Member
from agents.passkey_answers import PasskeyRefused
from agents.passkey_models import Purpose
from agents.passkeys import begin_signing, finish_signing, passkeys_of
from approvals import services
from approvals.binding import Tampered, check_row
from approvals.models import ApprovalRequest, Decision
from approvals.step_up import VIA, Proof, new_form
from approvals.transitions import AlreadyDecided, StaleDigest

NO_PASSKEY = "You have no passkey: register one under Settings."


def begin(*, member: Member, approval_id: UUID, digest: str, decision: Decision, now: datetime) -> str:
    """The options with which the member's device signs `decision` on the displayed call, as JSON.

    Raises:
        NotAllowed, ApprovalRequest.DoesNotExist, AlreadyDecided, StaleDigest: as `services.approve`.
        PasskeyRefused: the member has no passkey.
    """
    if not member.may_decide:
        raise services.NotAllowed
    approval = ApprovalRequest.objects.for_owner(member.owner).get(pk=approval_id)
    if approval.decision != Decision.PENDING:
        raise AlreadyDecided(approval)
    try:
        check_row(approval)
    except Tampered as error:
        raise StaleDigest(approval) from error
    if digest != approval.digest:
        raise StaleDigest(approval)
    if not passkeys_of(member.user):
        raise PasskeyRefused("none", NO_PASSKEY)
    return begin_signing(user=member.user, purpose=Purpose.DECIDE, form=new_form(approval, decision, member), now=now)


def decide(
    *, member: Member, approval_id: UUID, digest: str, decision: Decision, answer: str, reason: str = "", now: datetime
) -> ApprovalRequest:
    """Take the decision that the device has signed. The challenge is gone, whatever comes of it.

    Raises:
        PasskeyRefused: not signed by a passkey of the member, or something else than this decision on this call.
        NotAllowed, ApprovalRequest.DoesNotExist, AlreadyDecided, StaleDigest: as `services.approve`.
    """
    signed = finish_signing(user=member.user, purpose=Purpose.DECIDE, answer=answer, now=now)
    proof = Proof(signed=signed)
    if decision == Decision.APPROVED:
        return services.approve(member=member, approval_id=approval_id, digest=digest, via=VIA, now=now, proof=proof)
    return services.deny(
        member=member, approval_id=approval_id, digest=digest, reason=reason, via=VIA, now=now, proof=proof
    )
