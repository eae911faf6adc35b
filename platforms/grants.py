"""Giving and taking permissions: each change with its row on record, inside the caller's transaction."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection as database
from django.db.models import Q

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


def hold(*, scopes: Iterable[int], connections: Iterable[UUID]) -> None:
    """What grants are to point to stays until the transaction ends, or is gone already: read it after this.

    To be called before anything is put on record: who deletes one of them waits for the head of the audit chain next.
    Locks: the scopes, then the connections, in the weakest mode (a foreign key's own), against their end only.
    """
    with database.cursor() as cursor:
        for table, keys in (("platforms_scope", list(scopes)), ("platforms_connection", list(connections))):
            if keys:
                cursor.execute(f"SELECT FROM {table} WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [keys])


def hold_chosen(*, owner: Owner, choices: Sequence[Choice]) -> None:
    """`hold` for what the owner picked, as far as it is the owner's."""
    named = Q(pk__in=[])
    for choice in choices:
        named |= Q(platform__slug=choice.platform, name=choice.scope)
    connections = [choice.connection_id for choice in choices if choice.connection_id is not None]
    hold(
        scopes=Scope.objects.filter(named, platform__owner=owner).values_list("pk", flat=True),
        connections=Connection.objects.for_owner(owner).filter(pk__in=connections).values_list("pk", flat=True),
    )


def give_chosen(*, agent: Agent, owner: Owner, choice: Choice, change: Change) -> Grant:
    """Grant what the owner picked, from what the owner has. Locks as `hold` does, then the grant.

    Raises:
        NoSuchScope: platform, scope or connection are not this owner's.
        NotPossible: the end is past.
    """
    hold_chosen(owner=owner, choices=[choice])
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
