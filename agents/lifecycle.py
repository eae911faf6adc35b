"""The life of an agent: created, suspended, reactivated, revoked. Every verb is on record and holds on the next call.

Locks are taken in one order: owner, parent, agent, children by id, then (in `audit.records`) the chain head.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from agents.models import Agent, AgentKind, AgentQuerySet, AgentStatus, Invite, Member, Owner
from audit.events import JSON, Actor, Event, Result
from audit.records import record

MAX_NAME = 200
_EVENTS = {
    AgentStatus.SUSPENDED: Event.AGENT_SUSPENDED,
    AgentStatus.ACTIVE: Event.AGENT_REACTIVATED,
    AgentStatus.REVOKED: Event.AGENT_DELETED,
}


class NotAllowed(Exception):
    """The member's role does not administer agents."""


class NameRefused(ValueError):
    """Not a name that a person can tell an agent by. The text says why."""


class NotPossible(Exception):
    """The agent is in no state for this. The text is one sentence that says so."""


def one_line(text: str) -> str:
    """The text in one line of printable characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def readable_name(text: str) -> str:
    """The name in one line of printable characters: it stands on the cards that people decide on.

    Raises:
        NameRefused: nothing is left of it, or it is too long.
    """
    name = one_line(text)
    if not name:
        raise NameRefused("Give the agent a name.")
    if len(name) > MAX_NAME:
        raise NameRefused(f"The name is longer than {MAX_NAME} characters.")
    return name


def create_agent(
    *,
    owner_id: UUID,
    name: str,
    status: AgentStatus,
    actor: Actor,
    now: datetime,
    request_id: UUID | None,
    kind: str = AgentKind.UNKNOWN,
    description: str = "",
    parent_id: str | None = None,
    expires_at: datetime | None = None,
    number_if_taken: bool = False,
    session_id: str = "",
) -> Agent:
    """A new agent without key or grants. The caller holds the transaction. A kind nobody knows is `unknown`.

    Names of root agents are unique with their owner; `number_if_taken` makes "name (2)" where the name is taken.
    A child needs `parent_id` and `expires_at`; its parent stays locked, so that it cannot be suspended in between. What
    is a root agent's name gets a number for a child, whatever the caller says: programs pick the names of children.

    Raises:
        NameRefused: see `readable_name`; or it is taken.
        NotPossible: the parent is no active root agent of the owner.
    """
    name = readable_name(name)
    Owner.objects.select_for_update(no_key=True).get(pk=owner_id)  # one new name at a time
    if parent_id is None:
        name = _free_name(owner_id, name, number_if_taken)
    else:
        parent = _lock(Agent.objects.filter(owner_id=owner_id).roots(), parent_id)
        if parent.status != AgentStatus.ACTIVE:
            raise NotPossible(f"The agent {parent.name} is {parent.status}.")
        name = _free_name(owner_id, name, True)
    agent = Agent.objects.create(
        owner_id=owner_id,
        parent_id=parent_id,
        name=name,
        description=description[:1000],
        kind=kind if kind in AgentKind.values else AgentKind.UNKNOWN,
        status=status,
        expires_at=expires_at,
    )
    facts: dict[str, JSON] = {"kind": agent.kind, "status": agent.status}
    if parent_id is not None and expires_at is not None:
        facts |= {"parent_agent_id": parent_id, "expires_at": expires_at.isoformat()}
    _record(
        agent, Event.AGENT_CREATED, actor=actor, now=now, request_id=request_id, metadata=facts, session_id=session_id
    )
    return agent


def suspend(*, member: Member, agent_id: str, reason: str = "", now: datetime, request_id: UUID | None) -> Agent:
    """Stop an active agent and its children, until each is reactivated. The reason is for the owner's eyes only.

    Raises:
        NotAllowed: the member is no admin.
        Agent.DoesNotExist: not an agent of the member's owner.
        NotPossible: it is neither active nor suspended.
    """
    with transaction.atomic():
        agent = _locked(member, agent_id)
        if agent.status not in {AgentStatus.ACTIVE, AgentStatus.SUSPENDED}:
            raise NotPossible(f"The agent is {agent.status}: there is nothing to suspend.")
        affected = [agent, *_lock_children(agent, [AgentStatus.ACTIVE])]
        _change(affected, AgentStatus.SUSPENDED, _actor(member), reason, now, request_id)
    return agent


def suspend_all(*, member: Member, reason: str = "", now: datetime, request_id: UUID | None) -> list[Agent]:
    """Stop every active agent of the owner, children included; returns those that were stopped. Raises NotAllowed."""
    _check(member)
    with transaction.atomic():
        affected = _locked_in_order(Agent.objects.for_owner(member.owner).filter(status=AgentStatus.ACTIVE))
        _change(affected, AgentStatus.SUSPENDED, _actor(member), reason, now, request_id)
        Agent.objects.filter(pk__in=[agent.pk for agent in affected]).update(stopped_with_all_at=now)
    return affected


def stopped_with_all(owner: Owner) -> tuple[datetime | None, int]:
    """When `suspend_all` last stopped agents that nobody has touched since, and how many those are."""
    stopped = Agent.objects.for_owner(owner).filter(status=AgentStatus.SUSPENDED, stopped_with_all_at__isnull=False)
    last = stopped.aggregate(last=Max("stopped_with_all_at"))["last"]
    return last, stopped.filter(stopped_with_all_at=last).count() if last else 0


def reactivate_stopped(*, member: Member, stopped_at: datetime, now: datetime, request_id: UUID | None) -> list[Agent]:
    """Undo the `suspend_all` of that moment: exactly the agents that it stopped, but for those touched since.

    A child whose time is over, or whose parent is not active, stays as it is. Raises NotAllowed.
    """
    _check(member)
    with transaction.atomic():
        agents = Agent.objects.for_owner(member.owner)
        stopped = agents.filter(status=AgentStatus.SUSPENDED, stopped_with_all_at=stopped_at)
        parents = Q(pk__in=stopped.filter(expires_at__gt=now).values("parent_id"))
        found = _locked_in_order(agents.filter(Q(expires_at=None, pk__in=stopped) | parents))
        again = [agent for agent in found if agent.stopped_with_all_at == stopped_at]
        active = {agent.pk for agent in found if agent.status == AgentStatus.ACTIVE} | {agent.pk for agent in again}
        children = _locked_in_order(stopped.filter(expires_at__gt=now, parent_id__in=active))
        affected = [*again, *children]
        _change(affected, AgentStatus.ACTIVE, _actor(member), "", now, request_id)
    return affected


def reactivate(*, member: Member, agent_id: str, now: datetime, request_id: UUID | None) -> Agent:
    """Let a suspended agent act again. Its children stay as they are: each is reactivated by itself, or runs out.

    Raises:
        NotAllowed, Agent.DoesNotExist: as `suspend`.
        NotPossible: it is neither suspended nor active, or it is the child of a parent that is not active, or over.
    """
    with transaction.atomic():
        agent = _locked(member, agent_id)
        if agent.status not in {AgentStatus.ACTIVE, AgentStatus.SUSPENDED}:
            raise NotPossible(f"The agent is {agent.status}: it cannot be reactivated.")
        if agent.parent is not None and agent.parent.status != AgentStatus.ACTIVE:
            raise NotPossible(f"Its parent is {agent.parent.status}: reactivate that one first.")
        if agent.expires_at is not None and now >= agent.expires_at:
            raise NotPossible("Its time is over: its parent can mint another one.")
        _change([agent], AgentStatus.ACTIVE, _actor(member), "", now, request_id)
    return agent


def revoke(*, member: Member, agent_id: str, reason: str = "", now: datetime, request_id: UUID | None) -> list[Agent]:
    """End an agent and its children for good; returns the agent first. Again for one that has ended changes nothing.

    Raises:
        NotAllowed, Agent.DoesNotExist: as `suspend`.
    """
    with transaction.atomic():
        agent = _locked(member, agent_id)
        alive = [status for status in AgentStatus if status != AgentStatus.REVOKED]
        affected = [agent, *_lock_children(agent, alive)]
        Invite.objects.filter(agent__in=affected, used_at=None).delete()
        _change(affected, AgentStatus.REVOKED, _actor(member), reason, now, request_id)
    return affected


def _check(member: Member) -> None:
    if not member.may_administer:
        raise NotAllowed


def _actor(member: Member) -> Actor:
    return Actor("member", str(member.user_id), member.user.email)


def _locked(member: Member, agent_id: str) -> Agent:
    """The agent, locked after its parent. Raises NotAllowed and Agent.DoesNotExist."""
    _check(member)
    agents = Agent.objects.for_owner(member.owner)
    parent_id = agents.get(pk=agent_id).parent_id
    parent = _lock(agents, parent_id) if parent_id is not None else None
    agent = _lock(agents, agent_id)
    agent.parent = parent
    return agent


def _lock(agents: QuerySet[Agent], agent_id: str) -> Agent:
    return agents.select_for_update(of=("self",), no_key=True).get(pk=agent_id)


def _locked_in_order(agents: AgentQuerySet) -> list[Agent]:
    """All of them, locked: roots first, then children, each by id."""
    locking = agents.select_for_update(of=("self",), no_key=True).order_by("pk")
    return [*locking.roots(), *locking.filter(parent__isnull=False)]


def _lock_children(agent: Agent, statuses: Iterable[str]) -> list[Agent]:
    children = Agent.objects.filter(parent=agent, status__in=statuses)
    return list(children.select_for_update(of=("self",), no_key=True).order_by("pk"))


def _change(
    agents: Iterable[Agent],
    status: AgentStatus,
    actor: Actor,
    reason: str,
    now: datetime,
    request_id: UUID | None,
) -> None:
    """Every row is locked. Those that are there already are left alone."""
    changed = [agent for agent in agents if agent.status != status]
    Agent.objects.filter(pk__in=[agent.pk for agent in changed]).update(status=status, stopped_with_all_at=None)
    for agent in changed:
        before, agent.status = agent.status, status
        _record(
            agent,
            _EVENTS[status],
            actor=actor,
            now=now,
            request_id=request_id,
            reason=reason,
            metadata={"from": before, "to": status, "parent_agent_id": agent.parent_id or ""},
        )


def _record(
    agent: Agent,
    event: Event,
    *,
    actor: Actor,
    now: datetime,
    request_id: UUID | None,
    reason: str = "",
    session_id: str = "",
    metadata: dict[str, JSON],
) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=agent.owner_id,
        actor=actor,
        now=now,
        request_id=request_id,
        agent_id=agent.pk,
        agent_name=agent.name,
        reason=reason,
        session_id=session_id,
        metadata=metadata,
    )


def _free_name(owner_id: UUID, name: str, number_if_taken: bool) -> str:
    roots = Agent.objects.filter(owner_id=owner_id).roots()
    if not roots.filter(name=name).exists():
        return name
    if not number_if_taken:
        raise NameRefused(f"There is an agent called {name} already.")
    stem = name[: MAX_NAME - 8]
    taken = set(roots.filter(name__startswith=stem).values_list("name", flat=True))
    return next(numbered for n in range(2, len(taken) + 3) if (numbered := f"{stem} ({n})") not in taken)
