"""The one question that decides whether a call may leave: which current grant covers it, and with what credential."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from django.db import connection as database

from agents.models import AgentStatus
from audit.events import JSON
from platforms import destinations
from platforms.access_tokens import TIMEOUT, access_token
from platforms.credentials import Auth, parse_auth
from platforms.destinations import DestinationChanged
from platforms.endpoints import Endpoint, covers, parse_rule, target_url
from platforms.held_access import HeldAccess
from platforms.models import CallStyle, credential_aad
from platforms.refresh_grants import is_renewed
from platforms.vault import Sealed, open_sealed

CHOICE_HINT = (
    "The platform has other connections that could have been used, and none was named: if what you look for is not "
    "there, it may be on one of them. Name it with connection_id."
)


class NotCovered(Exception):
    """The call is refused. `reason` is a code of the wire contract, the text one sentence for the agent's owner."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class NotConnected(Exception):
    """The scope is granted, but no connection can be used. The text is one sentence."""


class Other(TypedDict):
    connection_id: str
    label: str


class Disclosure(TypedDict):
    """What an agent is told where it left the choice of the connection to us and there was one (`_meta.connection`)."""

    used: str
    label: str
    defaulted: bool
    others: Sequence[Other]
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """A grant that covers the call, with all that is needed to make it."""

    grant_id: int
    platform: str
    platform_name: str
    scope: str
    url: str
    auth: Auth
    body_kind: str  # `platforms.models.BodyKind`
    is_mcp: bool
    connection_id: UUID
    connection_label: str
    credential_version: int
    require_approval: bool
    policy_version: str
    honours_idempotency_key: bool
    step_up: str  # `platforms.models.StepUp`
    sealed: Sealed
    destination_holds: bool
    disclosure: Disclosure | None = None

    def credential(self, *, timeout: float = TIMEOUT, held: HeldAccess | None = None) -> str:
        """The stored credential in clear, for the one call; of one that is renewed, an access token.

        That is the one that is `held`, if it was got with this connection's credential in this version.

        Raises:
            DestinationChanged: it was not stored for this address, or not to be sent in this way.
            NoAccess: it could not be renewed within `timeout` seconds, or is refused.
            VaultError: the vault key does not open it.
        """
        if not self.destination_holds:
            raise DestinationChanged
        if held is not None and (held.connection_id, held.version) == (self.connection_id, self.credential_version):
            return held.token
        aad = credential_aad(connection_id=self.connection_id, version=self.credential_version)
        credential = open_sealed(self.sealed, aad=aad)
        if is_renewed(self.auth, credential):
            return access_token(connection_id=self.connection_id, version=self.credential_version, timeout=timeout)
        return credential


# One indexed round trip instead of many ORM queries: this runs on every call of every agent. `pg` is the grant that a
# child's was taken from, `pa` the child's parent. `c` is the first of the connections that call and grants allow; it is
# taken if it is the default or the only one of them.
_SQL = """
SELECT p.id, p.name, p.base_url, p.auth, p.body_kind, p.call_style, p.honours_idempotency_key, p.suspended_at,
       s.rules, s.step_up, a.expires_at,
       CASE WHEN a.status <> 'active' OR pa.id IS NULL THEN a.status ELSE pa.status END AS status,
       g.id, LEAST(g.expires_at, pg.expires_at) AS expires_at,
       g.require_approval OR COALESCE(pg.require_approval, FALSE) AS asks,
       c.others, c.id, c.label, c.credential_version, c.require_approval,
       c.credential_key_id, c.credential_wrapped_key, c.credential_ciphertext, c.destination,
       c.is_default OR c.usable = 1 AS chosen
  FROM platforms_platform p
  JOIN platforms_scope s ON s.platform_id = p.id AND s.name = %(scope)s
  JOIN platforms_grant g ON g.scope_id = s.id AND g.agent_id = %(agent)s AND g.revoked_at IS NULL
  JOIN agents_agent a ON a.id = g.agent_id AND a.owner_id = p.owner_id
  LEFT JOIN agents_agent pa ON pa.id = a.parent_id
  LEFT JOIN platforms_grant pg
         ON pg.id = g.parent_id AND pg.scope_id = g.scope_id AND pg.agent_id = a.parent_id AND pg.revoked_at IS NULL
  LEFT JOIN LATERAL (
       SELECT k.*, COUNT(*) OVER () AS usable,
              jsonb_agg(jsonb_build_object('connection_id', k.id, 'label', k.label))
                  OVER (ORDER BY k.label ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS others
         FROM platforms_connection k
        WHERE k.platform_id = p.id
          AND (%(connection)s::uuid IS NULL OR k.id = %(connection)s::uuid)
          AND (g.connection_id IS NULL OR k.id = g.connection_id)
          AND (pg.connection_id IS NULL OR k.id = pg.connection_id)
        ORDER BY k.is_default DESC
        LIMIT 1
       ) c ON TRUE
 WHERE p.owner_id = %(owner)s AND p.slug = %(platform)s
   AND (a.parent_id IS NULL) = (pg.id IS NULL) AND (a.parent_id IS NULL) = (g.parent_id IS NULL)
"""


class _Row(NamedTuple):
    platform_id: int
    platform_name: str
    base_url: str
    auth: str  # Django leaves jsonb as text on raw cursors
    body_kind: str
    call_style: str
    honours_idempotency_key: bool
    suspended_at: datetime | None
    rules: str
    step_up: str
    agent_expires_at: datetime | None
    agent_status: str
    grant_id: int
    grant_expires_at: datetime | None
    grant_asks: bool
    others: str | None
    connection_id: UUID | None
    label: str
    credential_version: int
    connection_asks: bool
    key_id: str
    wrapped_key: bytes
    ciphertext: bytes
    destination: str
    chosen: bool | None


def find_coverage(
    *,
    owner_id: UUID,
    agent_id: str,
    platform: str,
    scope: str,
    method: str,
    endpoint: Endpoint,
    now: datetime,
    connection_id: UUID | None = None,
) -> Coverage:
    """The current grant that covers agent, platform, scope, connection, method and path.

    Raises:
        NotCovered: no such grant (`scope_not_granted`; also for a platform or scope that does not exist, so that
            nothing can be learnt by asking), a grant whose time is over (`grant_expired`), a platform that its owner
            has suspended (`platform_suspended`), an agent that is not active or whose parent is not
            (`agent_suspended`, …), or a scope that does not cover this method and path (`endpoint_scope_mismatch`).
        NotConnected: granted, but there is no connection to use, or several and none is named or the default.
        EndpointRefused: see `platforms.endpoints.target_url`.
    """
    row = _current_grant(
        owner_id=owner_id, agent_id=agent_id, platform=platform, scope=scope, connection_id=connection_id, now=now
    )
    rules = [parse_rule(rule) for rule in json.loads(row.rules)]
    if not covers(rules, method=method, path=endpoint.path):
        raise NotCovered(
            "endpoint_scope_mismatch",
            f"The scope {scope} does not cover {method} {endpoint.path} on {platform}.",
        )
    if row.connection_id is None:
        raise NotConnected(f"{platform} has no such connection that this grant may use.")
    if not row.chosen:
        raise NotConnected(f"{platform} has several connections and none is the default: name a connection_id.")
    return Coverage(
        grant_id=row.grant_id,
        platform=platform,
        platform_name=row.platform_name,
        scope=scope,
        url=target_url(row.base_url, endpoint, is_mcp=row.call_style == CallStyle.MCP),
        auth=parse_auth(json.loads(row.auth)),
        body_kind=row.body_kind,
        is_mcp=row.call_style == CallStyle.MCP,
        connection_id=row.connection_id,
        connection_label=row.label,
        credential_version=row.credential_version,
        require_approval=row.grant_asks or row.connection_asks,
        policy_version=policy_version_of(
            grant=row.grant_id,
            rules=json.loads(row.rules),
            grant_asks=row.grant_asks,
            connection_asks=row.connection_asks,
            auth=json.loads(row.auth),
            step_up=row.step_up,
        ),
        honours_idempotency_key=row.honours_idempotency_key,
        step_up=row.step_up,
        sealed=Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext)),
        destination_holds=destinations.holds(
            row.destination,
            connection_id=row.connection_id,
            platform_id=row.platform_id,
            base_url=row.base_url,
            auth=json.loads(row.auth),
        ),
        disclosure=_disclosure(row),
    )


def policy_version_of(**policy: JSON) -> str:
    """What let a call through, or made it wait, in 16 hex digits (`docs/binding.md`): a record, never a check."""
    text = json.dumps(policy, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def may_use(*, owner_id: UUID, agent_id: str, platform: str, scope: str, now: datetime) -> bool | None:
    """Whether a current grant names the scope, whatever the endpoint; the answer is whether a person will be asked.

    None where that depends on what is not known: there is no connection, or several, and none is the default.

    Raises:
        NotCovered: as `find_coverage` does.
    """
    row = _current_grant(
        owner_id=owner_id, agent_id=agent_id, platform=platform, scope=scope, connection_id=None, now=now
    )
    if row.grant_asks:
        return True
    return row.connection_asks if row.chosen else None


def _current_grant(
    *, owner_id: UUID, agent_id: str, platform: str, scope: str, connection_id: UUID | None, now: datetime
) -> _Row:
    params: dict[str, Any] = {
        "owner": owner_id,
        "agent": agent_id,
        "platform": platform,
        "scope": scope,
        "connection": connection_id,
    }
    with database.cursor() as cursor:
        cursor.execute(_SQL, params)
        found = cursor.fetchone()
    if found is None:
        raise NotCovered("scope_not_granted", f"The scope {scope} on {platform} is not granted to this agent.")
    row = _Row(*found)
    if row.agent_status != AgentStatus.ACTIVE:
        raise NotCovered(f"agent_{row.agent_status}", f"The agent or its parent is {row.agent_status}.")
    if row.agent_expires_at is not None and row.agent_expires_at <= now:
        raise NotCovered("grant_expired", "The time of this child agent is over.")
    if row.grant_expires_at is not None and row.grant_expires_at <= now:
        raise NotCovered(
            "grant_expired", f"The grant of {scope} on {platform} ended at {row.grant_expires_at:%F %R} UTC."
        )
    if row.suspended_at is not None:
        raise NotCovered("platform_suspended", f"{platform} is suspended by its owner.")
    return row


def _disclosure(row: _Row) -> Disclosure | None:
    """Absent where there was nothing to choose from: one connection, or one that call or grant name."""
    used = str(row.connection_id)
    others: list[Other] = [other for other in json.loads(row.others or "[]") if other["connection_id"] != used]
    if not others:
        return None
    return {"used": used, "label": row.label, "defaulted": True, "others": others, "hint": CHOICE_HINT}
