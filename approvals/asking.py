"""From nothing to a call that waits for a person. One transaction, no network."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction

from agents.authentication import Caller
from agents.models import Member, Owner
from agents.owner_settings import approval_lifetime
from approvals.binding import Form, digest_of, write_form
from approvals.idempotency import KeyClaim
from approvals.models import ApprovalRequest, Decision
from approvals.on_record import SHOWN, shown_to_people
from approvals.rows import next_version, record_change, repeat_of
from approvals.telling import TITLE, headline, tag_of
from approvals.transitions import expire
from audit.events import Actor, Event, Result
from notifications import outbox
from platforms.coverage import Coverage

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A member has an earlier call asked for again, under its Idempotency-Key or (None) under one of its own."""

    of: ApprovalRequest
    by: Member
    same_key_as: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A call for a person to decide on. `caller` is the agent that it is made for, whoever asks."""

    caller: Caller
    form: Form
    coverage: Coverage
    reason: str
    requester_address: str | None
    request_id: UUID
    repeat: Repeat | None = None


def request(*, ask: Ask, now: datetime, claim: KeyClaim | None = None) -> ApprovalRequest:
    """Put the call before a person; the same call that already waits is returned instead of a second row.

    Raises:
        KeyRefused: the Idempotency-Key behind `claim` is another request's by now.
    """

    def put() -> ApprovalRequest:
        approval, _ = put_before_person(ask=ask, now=now)
        if claim is not None:
            claim.queued(approval)
        return approval

    return past_twins(put)


def past_twins(put: Callable[[], _T]) -> _T:
    """Run `put` in a transaction; once more where the same call has been committed by somebody else meanwhile."""
    while True:
        try:
            with transaction.atomic(durable=True):
                return put()
        except IntegrityError as error:
            # A twin was committed since we looked: look again. Any other violation is a fault of ours.
            if "approval_one_pending_twin" not in str(error):
                raise


def put_before_person(*, ask: Ask, now: datetime) -> tuple[ApprovalRequest, bool]:
    """The row that waits, and whether it is new. In the transaction of `past_twins`."""
    data = write_form(ask.form)
    rows = ApprovalRequest.objects.for_agent(ask.caller.agent_id)
    twins = rows.filter(digest=digest_of(data), decision=Decision.PENDING)
    twin = twins.select_for_update(of=("self",), no_key=True).first()
    if twin is not None and now < twin.expires_at:
        return twin, False
    if twin is not None:
        expire(twin, now=now)
    return _create(ask, data, now), True


def _create(ask: Ask, data: bytes, now: datetime) -> ApprovalRequest:
    caller, form, coverage, repeat = ask.caller, ask.form, ask.coverage, ask.repeat
    approval = ApprovalRequest.objects.create(
        owner_id=caller.owner_id,
        agent_id=caller.agent_id,
        agent_name=caller.agent_name,
        request_id=ask.request_id,
        platform=form.platform,
        scope=form.scope,
        connection_id=coverage.connection_id,
        connection_label=coverage.connection_label,
        disclosure=coverage.disclosure,
        form=data,
        digest=digest_of(data),
        reason=ask.reason,
        requester_address=ask.requester_address,
        session_id=caller.session_id,
        step_up=coverage.step_up,
        created_at=now,
        expires_at=now + approval_lifetime(Owner.objects.get(pk=caller.owner_id)),
        again_of=repeat.of if repeat else None,
        again_by=repeat.by.user.email if repeat else "",
        same_key_as=repeat.same_key_as if repeat else None,
        queue_version=next_version(caller.owner_id),
    )
    outbox.ask(
        owner_id=caller.owner_id,
        tag=tag_of(approval),
        title=TITLE,
        body=headline(agent=caller.agent_name, parent=caller.parent_name, platform=form.platform, scope=form.scope),
        url=f"/approvals/{approval.pk}",
        now=now,
        expires_at=approval.expires_at,
    )
    record_change(
        approval,
        Event.APPROVAL_REQUESTED,
        Result.PENDING,
        actor=Actor("member", str(repeat.by.user_id), repeat.by.user.email) if repeat else caller.actor,
        now=now,
        metadata={
            "method": form.method,
            "endpoint": form.endpoint,
            "policy_version": form.policy_version,
            "expires_at": approval.expires_at.isoformat(),
            "connection_label": approval.connection_label,
            "step_up": approval.step_up,
            SHOWN: shown_to_people(approval),
            **(repeat_of(approval) if repeat else {}),
        },
    )
    return approval
