"""Asking for a permission that is missing: the agent asks, its owner grants or refuses, the agent reads which."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.authentication import Caller
from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Agent, AgentStatus, Member
from audit.events import Actor, Event, Result
from audit.records import record
from notifications.inbox import notify, withdraw
from platforms.asks import AccessRequest, AccessStatus
from platforms.grants import Change, Choice, give_chosen
from platforms.models import Grant

MAX_PENDING = 20  # for each agent: what waits is read by people


class ChildMayNotAsk(Exception):
    """A child has what its parent gave it: the parent asks."""


class TooManyPending(Exception):
    """The agent's owner has enough to answer already."""


class AlreadyAnswered(Exception):
    """Somebody was first. `request` says who."""

    def __init__(self, request: AccessRequest) -> None:
        super().__init__(f"{request.pk} is {request.status}")
        self.request = request


def ask(*, caller: Caller, platform: str, scope: str, reason: str, request_id: UUID, now: datetime) -> AccessRequest:
    """Put the wish before the owner; the same wish that already waits is returned instead of a second one.

    Platform and scope need not exist, and the agent does not learn whether they do. `scope` "" leaves it to the owner.
    Locks: the agent.

    Raises:
        ChildMayNotAsk: the caller is a child agent.
        TooManyPending: MAX_PENDING others wait.
    """
    if caller.is_child:
        raise ChildMayNotAsk
    with transaction.atomic(durable=True):
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=caller.agent_id)
        pending = AccessRequest.objects.for_agent(agent.pk).filter(status=AccessStatus.PENDING)
        twin = pending.filter(platform=platform, scope=scope).first()
        if twin is not None:
            return twin
        if pending.count() >= MAX_PENDING:
            raise TooManyPending
        request = AccessRequest.objects.create(
            agent=agent, platform=platform, scope=scope, reason=reason, created_at=now
        )
        wish = f"{platform}:{scope}" if scope else platform
        notify(
            owner_id=agent.owner_id,
            tag=_tag(request),
            title=f"{agent.name} asks for access to {wish}",
            url="/notifications",
            now=now,
        )
        _record(
            Event.ACCESS_REQUESTED, Result.PENDING, request, actor=caller.actor, request_id=request_id, now=now,
            session_id=caller.session_id,
        )  # fmt: skip
    return request


def approve(
    *,
    member: Member,
    request: UUID,
    scope: str = "",
    require_approval: bool = True,
    connection_id: UUID | None = None,
    expires_at: datetime | None = None,
    request_id: UUID,
    now: datetime,
) -> AccessRequest:
    """Grant the scope that was asked for, or another one of the platform that the owner finds right.

    Where the agent holds the scope already, its connection and its end stay as they are unless others are given: an
    answer to a wish takes no boundary away that nobody spoke of.

    Locks: the agent, the request, then the grant.

    Raises:
        NotAllowed: the member is no admin.
        NotPossible: the agent is revoked, and gets nothing any more.
        AccessRequest.DoesNotExist: the member's owner has no such request.
        AlreadyAnswered: it is not pending any more.
        NoSuchScope: see `platforms.grants.give_chosen`; the request stays as it is.
    """
    with transaction.atomic(durable=True):
        found = _locked(member, request)
        if found.agent.status == AgentStatus.REVOKED:
            raise NotPossible("The agent is revoked: it gets no permissions any more.")
        held = _held(found.agent_id, platform=found.platform, scope=scope or found.scope)
        if held is not None:
            connection_id = connection_id or held.connection_id
            if expires_at is None and held.expires_at is not None and now < held.expires_at:
                expires_at = held.expires_at
        choice = Choice(
            platform=found.platform,
            scope=scope or found.scope,
            require_approval=require_approval,
            connection_id=connection_id,
            expires_at=expires_at,
        )
        change = Change(actor=_actor(member), request_id=request_id, now=now)
        _answer(found, AccessStatus.APPROVED, member=member, now=now)
        give_chosen(agent=found.agent, owner=member.owner, choice=choice, change=change)
        _record(
            Event.ACCESS_APPROVED, Result.ALLOWED, found, actor=change.actor, request_id=request_id, now=now,
            action=choice.scope,
        )  # fmt: skip
    return found


def deny(*, member: Member, request: UUID, request_id: UUID, now: datetime) -> AccessRequest:
    """Refuse the wish. Raises NotAllowed, AccessRequest.DoesNotExist and AlreadyAnswered as `approve` does."""
    with transaction.atomic(durable=True):
        found = _locked(member, request)
        _answer(found, AccessStatus.DENIED, member=member, now=now)
        _record(Event.ACCESS_DENIED, Result.DENIED, found, actor=_actor(member), request_id=request_id, now=now)
    return found


def _held(agent_id: str, *, platform: str, scope: str) -> Grant | None:
    """The agent's grant of the scope that nobody has revoked, run out or not."""
    return (
        Grant.objects.for_agent(agent_id)
        .filter(revoked_at=None, scope__platform__slug=platform, scope__name=scope)
        .first()
    )


def _locked(member: Member, request: UUID) -> AccessRequest:
    """The pending request with its agent, both locked, in the order that `ask` has: the agent first."""
    if not member.may_administer:
        raise NotAllowed
    requests = AccessRequest.objects.for_owner(member.owner)
    agent_id = requests.get(pk=request).agent_id
    agent = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent_id)
    found = requests.select_for_update(of=("self",), no_key=True).get(pk=request)
    found.agent = agent
    if found.status != AccessStatus.PENDING:
        raise AlreadyAnswered(found)
    return found


def _answer(request: AccessRequest, status: AccessStatus, *, member: Member, now: datetime) -> None:
    request.status = status
    request.decided_at = now
    request.decided_by = member.user.email
    request.save(update_fields=["status", "decided_at", "decided_by"])
    withdraw(owner_id=member.owner_id, tag=_tag(request), now=now)


def _tag(request: AccessRequest) -> str:
    return f"access:{request.pk}"


def _actor(member: Member) -> Actor:
    return Actor("member", str(member.user_id), member.user.email)


def _record(
    event: Event,
    result: Result,
    request: AccessRequest,
    *,
    actor: Actor,
    request_id: UUID,
    now: datetime,
    action: str = "",
    session_id: str = "",
) -> None:
    record(
        event=event,
        result=result,
        owner_id=request.agent.owner_id,
        actor=actor,
        now=now,
        request_id=request_id,
        agent_id=request.agent_id,
        agent_name=request.agent.name,
        platform=request.platform,
        action=action or request.scope,
        session_id=session_id,
        metadata={"access_request": str(request.pk)},
    )
