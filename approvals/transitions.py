"""From asked to decided. Every change has one shape: lock, check, change, audit; one transaction, no network."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from agents.authentication import Caller
from agents.models import Member
from approvals.binding import Form, Tampered, check_row, digest_of, seal_of, write_form
from approvals.idempotency import KeyClaim
from approvals.models import ApprovalRequest, Decision
from approvals.rows import SYSTEM, going_on, locked, next_version, record_change, save_changes
from audit.events import Actor, Event, Result
from crash_points import Point, crash_point
from notifications.inbox import notify, withdraw
from platforms.coverage import Coverage

logger = logging.getLogger(__name__)


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


def request(
    *,
    caller: Caller,
    form: Form,
    coverage: Coverage,
    reason: str,
    requester_address: str | None,
    request_id: UUID,
    now: datetime,
    claim: KeyClaim | None = None,
) -> ApprovalRequest:
    """Put the call before a person; the same call that already waits is returned instead of a second row.

    Raises:
        KeyRefused: the Idempotency-Key behind `claim` is another request's by now.
    """
    data = write_form(form)
    twins = ApprovalRequest.objects.for_agent(caller.agent_id).filter(digest=digest_of(data), decision=Decision.PENDING)
    while True:
        try:
            with transaction.atomic(durable=True):
                twin = twins.select_for_update(of=("self",), no_key=True).first()
                if twin is not None and now < twin.expires_at:
                    if claim is not None:
                        claim.queued(twin)
                    return twin
                if twin is not None:
                    _expire(twin, now=now)
                approval = _create(
                    caller=caller,
                    form=form,
                    data=data,
                    coverage=coverage,
                    reason=reason,
                    requester_address=requester_address,
                    request_id=request_id,
                    now=now,
                )
                if claim is not None:
                    claim.queued(approval)
                return approval
        except IntegrityError as error:
            # A twin was committed since we looked: look again. Any other violation is a fault of ours.
            if "approval_one_pending_twin" not in str(error):
                raise


def _create(
    *,
    caller: Caller,
    form: Form,
    data: bytes,
    coverage: Coverage,
    reason: str,
    requester_address: str | None,
    request_id: UUID,
    now: datetime,
) -> ApprovalRequest:
    approval = ApprovalRequest.objects.create(
        owner_id=caller.owner_id,
        agent_id=caller.agent_id,
        agent_name=caller.agent_name,
        request_id=request_id,
        platform=form.platform,
        scope=form.scope,
        connection_id=coverage.connection_id,
        connection_label=coverage.connection_label,
        disclosure=coverage.disclosure,
        form=data,
        digest=digest_of(data),
        reason=reason,
        requester_address=requester_address,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.APPROVAL_LIFETIME),
        queue_version=next_version(caller.owner_id),
    )
    notify(
        owner_id=caller.owner_id,
        tag=f"approval:{approval.pk}",
        title=f"Approval required: {caller.agent_name} → {form.platform}/{form.scope}",
        url=f"/approvals/{approval.pk}",
        now=now,
    )
    record_change(
        approval,
        Event.APPROVAL_REQUESTED,
        Result.PENDING,
        actor=caller.actor,
        now=now,
        session_id=caller.session_id,
        metadata={
            "method": form.method,
            "endpoint": form.endpoint,
            "policy_version": form.policy_version,
            "expires_at": approval.expires_at.isoformat(),
        },
    )
    return approval


def approve(*, member: Member, approval_id: UUID, digest: str, via: str, now: datetime) -> ApprovalRequest:
    """Decide that exactly this call may run.

    Raises:
        ApprovalRequest.DoesNotExist: not a row of the member's owner.
        AlreadyDecided: by somebody else, or by time.
        StaleDigest: `digest` is not that of the row.
    """
    return _decide(member=member, approval_id=approval_id, digest=digest, via=via, now=now, decision=Decision.APPROVED)


def deny(*, member: Member, approval_id: UUID, digest: str, reason: str, via: str, now: datetime) -> ApprovalRequest:
    """Decide that the call does not run. Raises as `approve` does."""
    return _decide(
        member=member,
        approval_id=approval_id,
        digest=digest,
        via=via,
        now=now,
        decision=Decision.DENIED,
        deny_reason=reason,
    )


def _decide(
    *,
    member: Member,
    approval_id: UUID,
    digest: str,
    via: str,
    now: datetime,
    decision: Decision,
    deny_reason: str = "",
) -> ApprovalRequest:
    with transaction.atomic(durable=True):
        approval = locked(approval_id, member.owner)
        if approval.decision == Decision.PENDING and now >= approval.expires_at:
            _expire(approval, now=now)  # committed below: what is raised is raised after the block
        open_before = approval.decision == Decision.PENDING
        stale = not _is_as_displayed(approval, digest)
        if open_before and not stale:
            approval.decision = decision
            approval.decided_at = now
            approval.decided_by_id = str(member.pk)
            approval.decided_by = member.user.email
            approval.decided_via = via
            approval.deny_reason = deny_reason
            approval.seal = seal_of(approval)
            save_changes(
                approval,
                "decision",
                "decided_at",
                "decided_by_id",
                "decided_by",
                "decided_via",
                "deny_reason",
                "seal",
            )
            withdraw(owner_id=approval.owner_id, tag=f"approval:{approval.pk}", now=now)
            approved = decision == Decision.APPROVED
            record_change(
                approval,
                Event.APPROVAL_APPROVED if approved else Event.APPROVAL_DENIED,
                Result.ALLOWED if approved else Result.DENIED,
                actor=Actor("member", str(member.user_id), member.user.email),
                now=now,
                reason=deny_reason,
                metadata={"via": via, "seal": approval.seal.hex()},
            )
            crash_point(Point.BEFORE_DECISION_COMMIT, approval_id)
    if not open_before:
        raise AlreadyDecided(approval)
    if stale:
        raise StaleDigest(approval)
    return approval


def _is_as_displayed(approval: ApprovalRequest, digest: str) -> bool:
    try:
        check_row(approval)
    except Tampered:
        return False
    return digest == approval.digest


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Expire what nobody decided in time; returns how many rows."""
    due = ApprovalRequest.objects.filter(decision=Decision.PENDING, expires_at__lte=now)
    expired = 0
    for pk in due.order_by("expires_at").values_list("pk", flat=True)[:limit]:
        with going_on(logger, f"expiring approval {pk}"), transaction.atomic(durable=True):
            approval = locked(pk)
            if approval.decision == Decision.PENDING:
                _expire(approval, now=now)
                expired += 1
    return expired


def _expire(approval: ApprovalRequest, *, now: datetime) -> None:
    """The caller holds the row's lock and has seen that it is pending and due."""
    approval.decision = Decision.EXPIRED
    approval.decided_at = now
    save_changes(approval, "decision", "decided_at")
    withdraw(owner_id=approval.owner_id, tag=f"approval:{approval.pk}", now=now)
    record_change(approval, Event.APPROVAL_EXPIRED, Result.DENIED, actor=SYSTEM, now=now)
