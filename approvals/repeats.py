"""Sending again: a new approval for a call that came to nothing, or may have. A person decides on it anew."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from agents.authentication import Caller
from agents.models import Member
from approvals.asking import Ask, Repeat, past_twins, put_before_person
from approvals.binding import Form, Tampered, check_row, check_seal, digest_of, write_form
from approvals.models import ApprovalQuerySet, ApprovalRequest, Decision, Finding
from approvals.outcome_record import check_outcome, is_found_to_have_happened, repeated_by
from approvals.rights import RightLost, coverage_of
from approvals.rows import locked
from platforms.coverage import Coverage


class CannotRepeat(Exception):
    """The call is not asked for again. The text is one sentence; `instead` is the approval to look at, if any."""

    def __init__(self, sentence: str, *, instead: ApprovalRequest | None = None) -> None:
        super().__init__(sentence)
        self.instead = instead


def may_be_repeated(approval: ApprovalRequest) -> bool:
    """Whether the call was approved and has no answer: it was not sent, or its outcome is unknown."""
    return (
        approval.executed_at is not None
        and approval.result_status is None
        and approval.outcome_found != Finding.HAPPENED
    )


def send_again(
    *, member: Member, approval_id: UUID, requester_address: str | None, request_id: UUID, now: datetime
) -> tuple[ApprovalRequest, bool]:
    """Put the same call before a person once more, as its agent's; returns what waits, and whether it is new.

    Locks: the approval, then the one that it repeats itself, then what waits of the same call; nobody locks an approval
    that has ended after one that waits.

    Raises:
        ApprovalRequest.DoesNotExist: not a row of the member's owner.
        CannotRepeat: it has an answer, it was sent again already, or its agent may not make it any more.
    """

    def put() -> tuple[ApprovalRequest, bool]:
        approval = locked(approval_id, member.owner)
        _check_ending(approval)
        if not may_be_repeated(approval):
            raise CannotRepeat("Only a call that was not sent, or whose outcome is unknown, can be sent again.")
        first = _what_counts(approval, member)
        waiting = _waiting_repeat(first, now)
        if waiting is not None:
            return waiting, False
        form, coverage = _check_rights(first, now)
        fresh = replace(form, credential_version=coverage.credential_version, policy_version=coverage.policy_version)
        _check_own_calls(first, {first.digest, digest_of(write_form(fresh))})
        key = first.same_key_as or first.pk
        # Under another credential it could be another account, which knows nothing of the first call.
        is_same_key = (
            first.outcome_unknown
            and coverage.honours_idempotency_key
            and coverage.credential_version == form.credential_version
        )
        ask = Ask(
            caller=Caller(
                agent_id=first.agent_id,
                agent_name=first.agent.name,
                owner_id=first.owner_id,
                status=first.agent.status,
                session_id="",
                parent_id=first.agent.parent_id or "",
                parent_name=first.agent.parent.name if first.agent.parent else "",
            ),
            form=fresh,
            coverage=coverage,
            reason=first.reason,
            requester_address=requester_address,
            request_id=request_id,
            repeat=Repeat(of=first, by=member, same_key_as=key if is_same_key else None),
        )
        row, is_new = put_before_person(ask=ask, now=now)
        if row.again_of_id is None:  # without the first call's key, and its card would not say what it repeats
            raise CannotRepeat("Its agent has asked for the same call by itself: decide on that one.", instead=row)
        return row, is_new

    return past_twins(put)


def _what_counts(approval: ApprovalRequest, member: Member) -> ApprovalRequest:
    """The call that a repeat stands for: of one that was not sent and was a repeat itself, the one before it.

    Raises CannotRepeat where any call that it repeats, up to the first one, was found to have happened.
    """
    first = approval
    if not approval.outcome_unknown and approval.again_of_id is not None:
        first = locked(approval.again_of_id, member.owner)
        _check_ending(first)
    try:
        for earlier in repeated_by(approval):
            if is_found_to_have_happened(earlier):
                raise CannotRepeat("The call that this one repeats was found to have happened.", instead=earlier)
    except RightLost as error:
        raise CannotRepeat(str(error)) from error
    return first


def _waiting_repeat(first: ApprovalRequest, now: datetime) -> ApprovalRequest | None:
    """The repeat that waits for a person. It goes on waiting until the caller's transaction ends.

    Raises:
        CannotRepeat: one was sent, or is about to be.
    """
    repeats = first.repeats.order_by("created_at")
    _hold_waiting(repeats)
    reached = repeats.reaching().last()
    if reached is None:
        return repeats.pending(now).last()
    if reached.executed_at is None:
        raise CannotRepeat("It was sent again already, and is under way.", instead=reached)
    raise CannotRepeat("It was sent again already: go on from there.", instead=reached)


def _hold_waiting(rows: ApprovalQuerySet) -> None:
    """Lock those that wait, as who decides on one does: none turns from waiting into sent between two looks at it."""
    waiting = rows.filter(decision=Decision.PENDING).select_for_update(of=("self",), no_key=True)
    list(waiting.order_by("pk").values_list("pk"))


def _check_own_calls(first: ApprovalRequest, digests: set[str]) -> None:
    """Raises CannotRepeat where the agent has asked for the same call since, and it was sent or is about to be."""
    own = ApprovalRequest.objects.for_agent(first.agent_id).filter(
        digest__in=digests, created_at__gt=first.created_at, again_of=None
    )
    _hold_waiting(own)
    later = own.reaching().order_by("-created_at").first()
    if later is not None:
        raise CannotRepeat("Its agent has asked for the same call since: go on from there.", instead=later)


def _check_ending(approval: ApprovalRequest) -> None:
    """What may be repeated is read from the row, so the row has to be what is on record."""
    try:
        check_outcome(approval)
    except Tampered as error:
        raise CannotRepeat(f"This row was changed: {error}.") from error


def _check_rights(first: ApprovalRequest, now: datetime) -> tuple[Form, Coverage]:
    try:
        form = check_row(first)
        check_seal(first)
        return form, coverage_of(approval=first, form=form, now=now)
    except Tampered as error:
        raise CannotRepeat(f"This row was changed: {error}.") from error
    except RightLost as error:
        raise CannotRepeat(f"{error} Nothing was asked for.") from error
