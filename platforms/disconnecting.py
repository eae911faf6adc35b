"""An admin takes a connection away: what goes with it, and what can be given again when it is back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from agents.models import Agent, AgentStatus, Member
from audit.events import Event
from platforms.grants import Change, give, revoke
from platforms.models import Connection, Grant, Platform
from platforms.setup import changing, locked_connection, on_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What goes with a connection: how many agents have no other for some of what they may do."""

    agents: int
    is_last: bool


def disconnect(*, member: Member, connection_id: UUID, request_id: UUID, now: datetime) -> tuple[Connection, Loss]:
    """Destroy the credential with its connection, and revoke the permissions that have no other to go by.

    What was revoked remembers the connection's label, so that it can be given again. Raises NotAllowed,
    Connection.DoesNotExist.
    """
    with changing(member, request_id=request_id, now=now) as change:
        connection = locked_connection(member, connection_id, for_deletion=True)
        loss = loss_of(connection=connection, now=now)
        grants = _lost_with(connection).select_related("agent", "scope__platform").order_by("pk")
        for grant in grants.select_for_update(of=("self",), no_key=True):
            grant.lost_with = {"label": connection.label, "pinned": grant.connection_id is not None}
            grant.save(update_fields=["lost_with"])
            revoke(grant=grant, change=change)
        on_record(
            change,
            Event.PLATFORM_DISCONNECTED,
            connection.platform,
            {"label": connection.label, "connection_id": str(connection_id), "agents": loss.agents},
        )
        Connection.objects.filter(pk=connection_id).delete()
    return connection, loss


def loss_of(*, connection: Connection, now: datetime) -> Loss:
    """How many agents lose something that they may do now if the connection goes."""
    current = Grant.objects.current(now).filter(pk__in=_lost_with(connection).values("pk"))
    agents = Agent.objects.exclude(status=AgentStatus.REVOKED).exclude(expires_at__lte=now)
    return Loss(agents=agents.filter(grants__in=current).distinct().count(), is_last=not _others(connection).exists())


def restorable(*, platform: Platform) -> list[Grant]:
    """Permissions of root agents that went with a connection, if nothing was given or taken by hand since."""
    rows = Grant.objects.filter(scope__platform=platform, agent__parent=None)
    rows = rows.exclude(agent__status=AgentStatus.REVOKED).select_related("agent", "scope__platform")
    last = {(grant.agent_id, grant.scope_id): grant for grant in rows.order_by("pk")}
    return [grant for grant in last.values() if grant.revoked_at is not None and grant.lost_with is not None]


def restore_lost(connection: Connection, change: Change) -> None:
    """Give again what went with an earlier connection. The caller holds the transaction.

    What was for one connection only comes back with one of its label: it must not reach another account.
    """
    for grant in restorable(platform=connection.platform):
        lost: dict[str, Any] = grant.lost_with or {}
        is_over = grant.expires_at is not None and grant.expires_at <= change.now
        if is_over or (lost["pinned"] and lost["label"] != connection.label):
            continue
        give(
            agent=grant.agent,
            scope=grant.scope,
            require_approval=grant.require_approval,
            connection=connection if lost["pinned"] else None,
            expires_at=grant.expires_at,
            change=change,
        )


def _lost_with(connection: Connection) -> QuerySet[Grant]:
    """The permissions that have nothing to go by without the connection, those of children included."""
    grants = Grant.objects.filter(scope__platform=connection.platform_id, revoked_at=None)
    return grants.filter(connection=connection) if _others(connection).exists() else grants


def _others(connection: Connection) -> QuerySet[Connection]:
    return Connection.objects.filter(platform=connection.platform_id).exclude(pk=connection.pk)
