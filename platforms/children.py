"""Child agents: for a helper, for minutes, with a part of what its parent may do at this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from agents.authentication import Caller
from agents.lifecycle import create_agent
from agents.models import Agent, AgentStatus, Owner
from agents.tokens import mint_child_token
from platforms.grants import Change, give, hold
from platforms.models import Connection, Grant


class ChildMayNotMint(Exception):
    """Delegation is one level deep."""


class NothingLeft(Exception):
    """Of what was asked for, the parent may do nothing itself."""


class TooManyChildren(Exception):
    """AGENTVALET_MAX_CHILDREN of this parent live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Scopes of one platform that the child is to have; all on one connection, if one is named."""

    platform: str
    scopes: Sequence[str]
    connection_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    agent: Agent
    expires_at: datetime
    token: str
    grants: Sequence[Grant]


def mint_child(
    *, caller: Caller, wishes: Sequence[Wish], name: str, lifetime: timedelta, request_id: UUID, now: datetime
) -> Child:
    """A child agent with those of the wished scopes that its parent has now. The token is answered once and not kept.

    A scope keeps the parent's demand for approval and its connection, and counts only as long as the parent's own
    grant does (`platforms.coverage`). Locks: owner, parent.

    Raises:
        ChildMayNotMint, NothingLeft, TooManyChildren.
        NotPossible: the parent is not active any more.
        SigningUnavailable: there is no key for tokens.
    """
    if caller.is_child:
        raise ChildMayNotMint
    expires_at = now + lifetime
    with transaction.atomic(durable=True):
        Owner.objects.select_for_update(of=("self",), no_key=True).get(pk=caller.owner_id)  # one mint at a time
        alive = Agent.objects.filter(
            parent_id=caller.agent_id, expires_at__gt=now, status__in=[AgentStatus.ACTIVE, AgentStatus.SUSPENDED]
        )
        if alive.count() >= settings.MAX_CHILDREN:
            raise TooManyChildren
        chosen = _attenuated(caller.agent_id, wishes, now)
        hold(
            scopes={grant.scope_id for grant, _ in chosen},
            connections={connection.pk for _, connection in chosen if connection is not None},
        )
        taken = _attenuated(caller.agent_id, wishes, now)  # what is left of it
        if not taken:
            raise NothingLeft
        agent = create_agent(
            owner_id=caller.owner_id,
            parent_id=caller.agent_id,
            name=name or f"{caller.agent_name[:150]} child",
            status=AgentStatus.ACTIVE,
            expires_at=expires_at,
            actor=caller.actor,
            now=now,
            request_id=request_id,
            session_id=caller.session_id,
        )
        change = Change(actor=caller.actor, request_id=request_id, now=now, session_id=caller.session_id)
        grants = [
            give(
                agent=agent,
                scope=grant.scope,
                require_approval=grant.require_approval,
                connection=connection,
                expires_at=expires_at,
                parent=grant,
                change=change,
            )
            for grant, connection in taken
        ]
        token = mint_child_token(child=agent, now=now)
    return Child(agent=agent, expires_at=expires_at, token=token, grants=grants)


def _attenuated(parent_id: str, wishes: Sequence[Wish], now: datetime) -> list[tuple[Grant, Connection | None]]:
    """The parent's current grants that are wished for, each with the connection the child is held to.

    The first wish for a scope counts. A wish for a connection that the parent's grant does not allow is dropped whole.
    """
    current = Grant.objects.for_agent(parent_id).current(now).select_related("scope__platform", "connection")
    held = {(grant.scope.platform.slug, grant.scope.name): grant for grant in current}
    named = {wish.connection_id for wish in wishes if wish.connection_id is not None}
    platforms = {grant.scope.platform_id for grant in held.values()}
    connections = {row.pk: row for row in Connection.objects.filter(pk__in=named, platform__in=platforms)}
    taken: dict[int, tuple[Grant, Connection | None]] = {}
    for wish in wishes:
        for scope in wish.scopes:
            grant = held.get((wish.platform, scope))
            if grant is None or grant.pk in taken:
                continue
            connection = grant.connection
            if wish.connection_id is not None:
                connection = connections.get(wish.connection_id)
                if (
                    connection is None
                    or connection.platform_id != grant.scope.platform_id
                    or grant.connection_id not in {None, connection.pk}
                ):
                    continue
            taken[grant.pk] = (grant, connection)
    return list(taken.values())
