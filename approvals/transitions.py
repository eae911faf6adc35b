"""From asked to decided. Every change has one shape: lock, check, change, audit; one transaction, no network."""

import logging
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.delegate_model import Delegate
from agents.models import Member
from approvals.binding import Tampered, check_row, seal_of
from approvals.models import ApprovalRequest, Decision
from approvals.on_record import check_asked
from approvals.rows import SYSTEM, locked, record_change, save_changes
from approvals.step_up import VIA, PasskeyDemanded, Proof, check_unsigned, is_demanded_of, keep_proof
from approvals.telling import tag_of
from audit.events import JSON, Actor, Event, Result
from crash_points import Point, crash_point
from notifications.inbox import withdraw
from notifications.sweeping import going_on

logger = logging.getLogger(__name__)

Decider = Member | Delegate


class AlreadyDecided(Exception):
    """Somebody, or time, was first. `approval` says who."""

    def __init__(self, approval: ApprovalRequest) -> None:
        super().__init__(f"{approval.pk} is {approval.decision}")
        self.approval = approval


class StaleDigest(Exception):
    """What was displayed is not what the row says now. `approval` is the row as it is."""

    def __init__(self, approval: ApprovalRequest) -> None:
        super().__init__(f"{approval.pk} is not what was displayed")
        self.approval = approval


class DeciderGone(Exception):
    """The delegate was removed or paused a moment ago."""


class RowTampered(StaleDigest):
    """The row is not what the agent asked for: nobody decides on it. On record as `approval.tampered`."""


def approve(
    *, member: Decider, approval_id: UUID, digest: str, via: str, now: datetime, proof: Proof | None = None
) -> ApprovalRequest:
    """Decide that exactly this call may run. `proof` is what the member's passkey signed.

    Raises:
        ApprovalRequest.DoesNotExist: not a row of the member's owner.
        AlreadyDecided: by somebody else, or by time.
        StaleDigest: `digest` is not that of the row; RowTampered: the row was changed since it was asked for.
        PasskeyDemanded: it takes a passkey (`step_up.is_demanded_of`), and there is no `proof`.
        PasskeyRefused: see `approvals.step_up.keep_proof`.
        DeciderGone: see there.
    """
    return _decide(
        member=member,
        approval_id=approval_id,
        digest=digest,
        via=via,
        now=now,
        decision=Decision.APPROVED,
        proof=proof,
    )


def deny(
    *,
    member: Decider,
    approval_id: UUID,
    digest: str,
    reason: str,
    via: str,
    now: datetime,
    proof: Proof | None = None,
) -> ApprovalRequest:
    """Decide that the call does not run. Raises as `approve` does."""
    return _decide(
        member=member,
        approval_id=approval_id,
        digest=digest,
        via=via,
        now=now,
        decision=Decision.DENIED,
        deny_reason=reason,
        proof=proof,
    )


def _decide(
    *,
    member: Decider,
    approval_id: UUID,
    digest: str,
    via: str,
    now: datetime,
    decision: Decision,
    deny_reason: str = "",
    proof: Proof | None,
) -> ApprovalRequest:
    if (via == VIA) != (proof is not None):
        raise ValueError("A decision is by passkey when there is proof of it, and only then.")
    with transaction.atomic(durable=True):
        approval = locked(approval_id, member.owner)
        _hold_decider(member)
        if approval.decision == Decision.PENDING and now >= approval.expires_at:
            expire(approval, now=now)  # committed below: what is raised is raised after the block
        open_before = approval.decision == Decision.PENDING
        tampering = _tampering_with(approval) if open_before else ""
        stale = digest != approval.digest
        lacking = proof is None and is_demanded_of(member, approval)
        if tampering:
            actor = _identity(member)[2]
            said: dict[str, JSON] = {"error": f"Refused: {tampering}. Nothing was decided.", "via": via}
            record_change(approval, Event.APPROVAL_TAMPERED, Result.DENIED, actor=actor, now=now, metadata=said)
        elif open_before and not stale and not lacking:
            approval.decision = decision
            approval.decided_at = now
            approval.decided_by_id, approval.decided_by, actor = _identity(member)
            approval.decided_via = via
            approval.deny_reason = deny_reason
            if proof is not None:
                keep_proof(approval=approval, decision=decision, proof=proof, now=now)
            approval.seal = seal_of(approval)
            save_changes(
                approval,
                "decision",
                "decided_at",
                "decided_by_id",
                "decided_by",
                "decided_via",
                "deny_reason",
                "evidence_digest",
                "seal",
            )
            withdraw(owner_id=approval.owner_id, tag=tag_of(approval), now=now)
            approved = decision == Decision.APPROVED
            record_change(
                approval,
                Event.APPROVAL_APPROVED if approved else Event.APPROVAL_DENIED,
                Result.ALLOWED if approved else Result.DENIED,
                actor=actor,
                now=now,
                reason=deny_reason,
                metadata={
                    "via": via,
                    "evidence": approval.evidence_digest,
                    "seal": approval.seal.hex(),
                    **({"passkey_id": str(proof.signed.passkey.pk)} if proof is not None else {}),
                },
            )
            crash_point(Point.BEFORE_DECISION_COMMIT, approval_id)
    if not open_before:
        raise AlreadyDecided(approval)
    if tampering:
        raise RowTampered(approval)
    if stale:
        raise StaleDigest(approval)
    if lacking:
        raise PasskeyDemanded(approval)
    return approval


def _hold_decider(decider: Decider) -> None:
    """A delegate is one until the decision is on record: locked, after the approval row. Raises DeciderGone."""
    if isinstance(decider, Delegate):
        rows = Delegate.objects.filter(pk=decider.pk, is_active=True).select_for_update(of=("self",), no_key=True)
        if not rows.values_list("pk", flat=True).first():
            raise DeciderGone(decider.email)


def _identity(decider: Decider) -> tuple[str, str, Actor]:
    """Id and address for the row, and who it was for the record."""
    if isinstance(decider, Delegate):
        return str(decider.pk), decider.email, Actor("delegate", str(decider.pk), decider.email)
    return str(decider.pk), decider.user.email, Actor("member", str(decider.user_id), decider.user.email)


def _tampering_with(approval: ApprovalRequest) -> str:
    """Which check says that the undecided row is not what the agent asked for; "" if all hold."""
    try:
        check_row(approval)
        check_asked(approval)
        check_unsigned(approval)
    except Tampered as error:
        return str(error)
    return ""


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Expire what nobody decided in time; returns how many rows."""
    due = ApprovalRequest.objects.filter(decision=Decision.PENDING, expires_at__lte=now)
    expired = 0
    for pk in due.order_by("expires_at").values_list("pk", flat=True)[:limit]:
        with going_on(logger, f"expiring approval {pk}"), transaction.atomic(durable=True):
            approval = locked(pk)
            if approval.decision == Decision.PENDING:
                expire(approval, now=now)
                expired += 1
    return expired


def expire(approval: ApprovalRequest, *, now: datetime) -> None:
    """The caller holds the row's lock and has seen that it is pending and due."""
    approval.decision = Decision.EXPIRED
    approval.decided_at = now
    save_changes(approval, "decision", "decided_at")
    withdraw(owner_id=approval.owner_id, tag=tag_of(approval), now=now)
    record_change(approval, Event.APPROVAL_EXPIRED, Result.DENIED, actor=SYSTEM, now=now)
