"""Giving and taking permissions: each change with its row on record, inside the caller's transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agents.lifecycle import NotPossible
from agents.models import Agent, Member, Owner
from audit.events import Actor, Event, Result
from audit.records import record
from platforms.models import Connection, Grant, Scope


class NoSuchScope(Exception):
    """The owner has no such scope, or no such connection for it. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A permission as an owner picks it. `keeps_end`: its end is that of the grant which the agent has, if any."""

    platform: str
    scope: str
    require_approval: bool = True
    connection_id: UUID | None = None
    expires_at: datetime | None = None
    keeps_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes permissions, when, in which request.

    `write` puts it on record; a transaction that goes on locking rows afterwards keeps the rows for its end.
    """

    actor: Actor
    request_id: UUID
    now: datetime
    session_id: str = ""
    write: Callable[..., object] = record


def change_of(member: Member, *, request_id: UUID, now: datetime) -> Change:
    return Change(actor=Actor("member", str(member.user_id), member.user.email), request_id=request_id, now=now)


def give_chosen(*, agent: Agent, owner: Owner, choice: Choice, change: Change) -> Grant:
    """Grant what the owner picked, from what the owner has.

    Raises:
        NoSuchScope: platform, scope or connection are not this owner's.
        NotPossible: the end is past.
    """
    scope = (
        Scope.objects.select_related("platform")
        .filter(platform__owner=owner, platform__slug=choice.platform, name=choice.scope)
        .first()
    )
    if scope is None:
        raise NoSuchScope(f"There is no scope {choice.scope} on {choice.platform}.")
    connection = None
    if choice.connection_id is not None:
        connection = Connection.objects.filter(platform=scope.platform_id, pk=choice.connection_id).first()
        if connection is None:
            raise NoSuchScope(f"There is no such connection of {choice.platform}.")
    expires_at = choice.expires_at
    if choice.keeps_end:
        grants = Grant.objects.select_for_update(of=("self",), no_key=True)
        held = grants.filter(agent=agent, scope=scope, revoked_at=None).first()
        expires_at = held.expires_at if held else None
    if expires_at is not None and expires_at <= change.now:
        raise NotPossible(f"The end of {choice.platform} / {choice.scope} is past: choose another one.")
    return give(
        agent=agent,
        scope=scope,
        require_approval=choice.require_approval,
        connection=connection,
        expires_at=expires_at,
        change=change,
    )


def give(
    *,
    agent: Agent,
    scope: Scope,
    require_approval: bool,
    change: Change,
    connection: Connection | None = None,
    expires_at: datetime | None = None,
    parent: Grant | None = None,
) -> Grant:
    """The agent's one grant of the scope, from now on exactly as described. The caller holds the transaction.

    Locks: the agent's unrevoked grant of the scope. Nothing is written where it already says so.

    Raises:
        ValueError: a child without the grant it takes from, or a root agent with one.
    """
    if (agent.parent_id is None) != (parent is None):
        raise ValueError("a child's grant is taken from one of its parent's, and nobody else's is")
    wanted = {
        "require_approval": require_approval,
        "connection_id": connection.pk if connection else None,
        "expires_at": expires_at,
        "parent_id": parent.pk if parent else None,
    }
    grant, created = Grant.objects.select_for_update(of=("self",), no_key=True).get_or_create(
        agent=agent, scope=scope, revoked_at=None, defaults=wanted
    )
    before = {name: getattr(grant, name) for name in wanted}
    if not created and before == wanted:
        return grant
    event = Event.PERMISSION_GRANTED
    if not created:
        if before["require_approval"] != require_approval:
            event = Event.PERMISSION_APPROVAL_TOGGLE_CHANGED
        for name, value in wanted.items():
            setattr(grant, name, value)
        grant.save(update_fields=list(wanted))
    _record(event, agent=agent, scope=scope, grant=grant, change=change)
    return grant


def revoke(*, grant: Grant, change: Change) -> None:
    """Take the permission away; what a child took from it counts no more from the next call on.

    `grant` comes with its agent, scope and platform. The caller holds the transaction.
    """
    if Grant.objects.filter(pk=grant.pk, revoked_at=None).update(revoked_at=change.now):
        _record(Event.PERMISSION_REVOKED, agent=grant.agent, scope=grant.scope, grant=grant, change=change)


def _record(event: Event, *, agent: Agent, scope: Scope, grant: Grant, change: Change) -> None:
    facts: dict[str, str | bool] = {}
    if event != Event.PERMISSION_REVOKED:
        facts["require_approval"] = grant.require_approval
        if grant.connection_id:
            facts["connection_id"] = str(grant.connection_id)
        if grant.expires_at:
            facts["expires_at"] = grant.expires_at.isoformat()
    change.write(
        event=event,
        result=Result.INFO,
        owner_id=agent.owner_id,
        actor=change.actor,
        now=change.now,
        request_id=change.request_id,
        agent_id=agent.pk,
        agent_name=agent.name,
        platform=scope.platform.slug,
        action=scope.name,
        session_id=change.session_id,
        metadata=facts,
    )
