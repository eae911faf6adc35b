"""The product's verbs, for every surface: submit an action, approve, deny, check an outcome, send again."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, transaction

from agents.authentication import Caller
from agents.models import Member
from approvals import outcomes, repeats, transitions
from approvals.actions import Action, cover
from approvals.asking import Ask, request
from approvals.direct import RightsMoved, forward
from approvals.idempotency import KeyClaim, KeyRefused, fingerprint_of, take_key
from approvals.limits import check_pending
from approvals.models import ApprovalRequest, Finding
from approvals.policy import Verdict, evaluate
from approvals.refusals import note_refusal, refuse_leak
from approvals.step_up import Proof
from approvals.tasks import wake_messengers, wake_worker
from approvals.transitions import Decider
from audit.events import JSON
from crash_points import Point, crash_point
from platforms.bodies import BodyRefused
from platforms.client import PlatformResponse
from platforms.coverage import NotConnected, NotCovered
from platforms.endpoints import EndpointRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """The platform's answer to a call that needed nobody's approval."""

    response: PlatformResponse
    meta: dict[str, JSON]


class NotAllowed(Exception):
    """The member's role does not decide."""


def submit_action(
    *,
    caller: Caller,
    action: Action,
    idempotency_key: str = "",
    requester_address: str | None,
    request_id: UUID,
    now: datetime,
) -> Forwarded | ApprovalRequest:
    """Make the call if a grant covers it and nobody has to be asked; else put it before a person.

    Under an `idempotency_key` that was used for the same call before, nothing is done again: what came of it then comes
    back. A call that is refused gives its key back, so that it can be sent again once the owner has mended a grant.
    Every refusal is on record before it is raised.

    Raises:
        SecretInRequest: see `platforms.leaks`. This is looked at first, so that no secret gets on record.
        KeyRefused, OutcomeUnknown: see `approvals.idempotency.take_key`.
        EndpointRefused: the endpoint is not one that can be called.
        NotCovered, NotConnected: see `platforms.coverage.find_coverage`.
        BodyRefused: see `platforms.bodies.make_body`.
        ApiError: 429, see `approvals.limits.check_pending`.
        CannotSend: see `approvals.refusals.refuse_leak` and `approvals.direct.forward`.
        PlatformUnreachable: see `approvals.direct.forward`.
    """
    refuse_leak(caller=caller, asked=action, reason=action.reason, request_id=request_id, now=now)
    claim: KeyClaim | None = None
    if idempotency_key:
        try:
            held = take_key(
                caller=caller,
                key=idempotency_key,
                fingerprint=fingerprint_of(asdict(action)),
                request_id=request_id,
                now=now,
            )
        except KeyRefused as refusal:
            note_refusal(caller=caller, asked=action, refusal=refusal, request_id=request_id, now=now)
            raise
        if isinstance(held, ApprovalRequest):
            return held
        if not isinstance(held, KeyClaim):
            return Forwarded(response=held[0], meta=held[1])
        claim = held
    try:
        return _submit(
            caller=caller,
            action=action,
            claim=claim,
            requester_address=requester_address,
            request_id=request_id,
            now=now,
        )
    except Exception:
        if claim is not None:
            with suppress(DatabaseError):  # then the key is free after its lease
                claim.give_back()
        raise


def _submit(
    *,
    caller: Caller,
    action: Action,
    claim: KeyClaim | None,
    requester_address: str | None,
    request_id: UUID,
    now: datetime,
) -> Forwarded | ApprovalRequest:
    try:
        while True:
            form, coverage = cover(caller=caller, action=action, now=now)
            if evaluate(coverage) is Verdict.ASK:
                break
            with suppress(RightsMoved):  # and then it may be one that waits for a person
                response, meta = forward(
                    caller=caller,
                    form=form,
                    read_again=lambda: cover(caller=caller, action=action, now=now),
                    request_id=request_id,
                    now=now,
                    claim=claim,
                )
                return Forwarded(response=response, meta=meta)
    except (EndpointRefused, NotCovered, NotConnected, BodyRefused) as refusal:
        note_refusal(caller=caller, asked=action, refusal=refusal, request_id=request_id, now=now)
        raise
    check_pending(caller=caller, form=form, request_id=request_id, now=now)
    ask = Ask(
        caller=caller,
        form=form,
        coverage=coverage,
        reason=action.reason,
        requester_address=requester_address,
        request_id=request_id,
    )
    approval = request(ask=ask, now=now, claim=claim)
    wake_messengers(approval, now=now)
    return approval


def approve(
    *, member: Decider, approval_id: UUID, digest: str, via: str, now: datetime, proof: Proof | None = None
) -> ApprovalRequest:
    """Approve exactly the displayed call, and have a worker make it.

    Raises:
        NotAllowed: the member is an auditor, the delegate not active.
        ApprovalRequest.DoesNotExist, AlreadyDecided, StaleDigest, PasskeyDemanded, PasskeyRefused: see
            `approvals.transitions.approve`.
    """
    if not member.may_decide:
        raise NotAllowed
    approval = transitions.approve(member=member, approval_id=approval_id, digest=digest, via=via, now=now, proof=proof)
    transaction.on_commit(lambda: _wake_worker(approval.pk))
    transaction.on_commit(lambda: wake_messengers(approval, now=now))
    return approval


def _wake_worker(approval_id: UUID) -> None:
    crash_point(Point.BEFORE_WAKE_UP, approval_id)
    wake_worker(approval_id)


def deny(
    *,
    member: Decider,
    approval_id: UUID,
    digest: str,
    reason: str = "",
    via: str,
    now: datetime,
    proof: Proof | None = None,
) -> ApprovalRequest:
    """Deny the displayed call; `reason` reaches the agent. Raises as `approve` does."""
    if not member.may_decide:
        raise NotAllowed
    approval = transitions.deny(
        member=member, approval_id=approval_id, digest=digest, reason=reason[:500], via=via, now=now, proof=proof
    )
    transaction.on_commit(lambda: wake_messengers(approval, now=now))
    return approval


def check_outcome(
    *, member: Member, approval_id: UUID, found: Finding, note: str = "", now: datetime
) -> ApprovalRequest:
    """Put on record what the member found on the platform about a call whose outcome is unknown.

    Raises:
        NotAllowed: the member is an auditor.
        ApprovalRequest.DoesNotExist, NothingToCheck, AlreadyChecked: see `approvals.outcomes.check`.
    """
    if not member.may_decide:
        raise NotAllowed
    return outcomes.check(member=member, approval_id=approval_id, found=found, note=note[:500], now=now)


def send_again(
    *, member: Member, approval_id: UUID, requester_address: str | None, request_id: UUID, now: datetime
) -> tuple[ApprovalRequest, bool]:
    """Put a call that failed, or may have, before a person once more; returns what waits and whether it is new.

    Raises:
        NotAllowed: the member is an auditor.
        ApprovalRequest.DoesNotExist, CannotRepeat: see `approvals.repeats.send_again`.
    """
    if not member.may_decide:
        raise NotAllowed
    approval, is_new = repeats.send_again(
        member=member,
        approval_id=approval_id,
        requester_address=requester_address,
        request_id=request_id,
        now=now,
    )
    wake_messengers(approval, now=now)
    return approval, is_new
