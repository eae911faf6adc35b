"""What an agent may do at this moment, as `GET /v1/agent/permissions` lists it, and the version of that list."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from audit.events import JSON
from platforms.models import CallStyle, Connection, Grant, Platform

# What the version is made of. A platform's name, how it is addressed and how long a grant still lasts are not: an
# agent that has cached the list is wrong about nothing when they change.
_VERSIONED = ("platformId", "scopes", "requireApproval", "approvalScopes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """The platforms with their scopes, sorted; keys without a value are left out."""

    platforms: list[dict[str, JSON]]
    version: str


def permissions_of(*, agent_id: str, now: datetime) -> Permissions:
    """Everything the agent may use now, by platform. Suspended platforms and expired grants are not in it."""
    grants = defaultdict(list)
    current = Grant.objects.for_agent(agent_id).current(now).select_related("scope__platform", "parent", "agent")
    for grant in current:
        grants[grant.scope.platform].append(grant)
    connections = defaultdict(list)
    for connection in Connection.objects.filter(platform__in=list(grants)).defer(
        "credential_wrapped_key", "credential_ciphertext"
    ):
        connections[connection.platform_id].append(connection)
    both = [
        _platform(platform, grants[platform], connections[platform.pk], now)
        for platform in sorted(grants, key=lambda platform: platform.slug)
    ]
    return Permissions(platforms=[entry for entry, _ in both], version=_version(both))


def _version(both: list[tuple[dict[str, JSON], list[dict[str, JSON]]]]) -> str:
    """Of all connections that can be used, also where there is only one and the list does not mention it."""
    what_counts = [
        {key: entry[key] for key in _VERSIONED if key in entry} | {"connections": connections}
        for entry, connections in both
    ]
    text = json.dumps(what_counts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _platform(
    platform: Platform, grants: Iterable[Grant], connections: Iterable[Connection], now: datetime
) -> tuple[dict[str, JSON], list[dict[str, JSON]]]:
    """The platform's entry in the list, and every connection that the agent can use there."""
    by_scope = {grant.scope.name: grant for grant in grants}
    scopes = sorted(by_scope)
    # A grant of either generation may be for one connection only.
    usable = {
        scope: [connection for connection in connections if _allows(grant, connection.pk)]
        for scope, grant in by_scope.items()
    }
    asking = [scope for scope in scopes if _asks(by_scope[scope], usable[scope])]
    entry: dict[str, JSON] = {
        "platformId": platform.slug,
        "platformName": platform.name,
        "scopes": scopes,
        "requireApproval": len(asking) == len(scopes),
    }
    if asking:
        entry["approvalScopes"] = asking
    listed = sorted(
        {connection for some in usable.values() for connection in some},
        key=lambda connection: (connection.label, str(connection.pk)),
    )
    all_connections = [
        _connection(connection, [scope for scope in scopes if connection in usable[scope]], scopes)
        for connection in listed
    ]
    if len(listed) > 1 or any(connection.identity or connection.hint for connection in listed):
        entry["connections"] = all_connections
    if platform.call_style == CallStyle.GRAPHQL:
        entry["callStyle"] = platform.call_style
    if platform.call_style == CallStyle.MCP:
        entry["serverHost"], entry["serverName"] = urlsplit(platform.base_url).netloc, platform.name
    ends = [end for grant in by_scope.values() for end in _ends(grant) if end is not None]
    if ends:
        entry["expiresInSeconds"] = int((min(ends) - now).total_seconds())
    return entry, all_connections


def _allows(grant: Grant, connection_id: UUID) -> bool:
    pins = (grant.connection_id, grant.parent.connection_id if grant.parent else None)
    return all(pin in {None, connection_id} for pin in pins)


def _asks(grant: Grant, usable: list[Connection]) -> bool:
    """Whether a person is asked whichever connection is used; one that asks by itself says so in its own entry."""
    if grant.require_approval or (grant.parent is not None and grant.parent.require_approval):
        return True
    return bool(usable) and all(connection.require_approval for connection in usable)


def _ends(grant: Grant) -> tuple[datetime | None, ...]:
    return (grant.expires_at, grant.parent.expires_at if grant.parent else None, grant.agent.expires_at)


def _connection(connection: Connection, scopes: list[str], all_scopes: list[str]) -> dict[str, JSON]:
    entry: dict[str, JSON] = {
        "connection_id": str(connection.pk),
        "label": connection.label,
        "is_default": connection.is_default,
        "requireApproval": connection.require_approval,
    }
    if scopes != all_scopes:
        entry["scopes"] = scopes
    if connection.identity:
        entry["identity"] = {key: value for key, value in connection.identity.items() if value}
    if connection.hint:
        entry["hint"] = connection.hint
    return entry
