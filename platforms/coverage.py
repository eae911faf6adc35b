"""The one question that decides whether a call may leave: which current grant covers it, and with what credential."""

import json
from dataclasses import dataclass
from uuid import UUID

from django.db import connection as database

from platforms.credentials import Auth, parse_auth
from platforms.endpoints import Endpoint, covers, join_url, parse_rule
from platforms.models import credential_aad
from platforms.vault import Sealed, open_sealed


class NotCovered(Exception):
    """The call is refused. `reason` is a code of the wire contract, the text one sentence for the agent's owner."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class NotConnected(Exception):
    """The scope is granted, but the platform has no connection with a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """A grant that covers the call, with all that is needed to make it."""

    grant_id: int
    platform: str
    platform_name: str
    scope: str
    url: str
    auth: Auth
    connection_id: UUID
    connection_label: str
    credential_version: int
    require_approval: bool
    sealed: Sealed

    def credential(self) -> str:
        """The stored credential in clear, for the one call.

        Raises:
            VaultError: the vault key does not open it.
        """
        aad = credential_aad(connection_id=self.connection_id, version=self.credential_version)
        return open_sealed(self.sealed, aad=aad)


# One indexed round trip instead of four ORM queries: this runs on every call of every agent.
_SQL = """
SELECT p.name, p.base_url, p.auth, s.rules, g.id, g.require_approval,
       c.id, c.label, c.credential_version, c.require_approval,
       c.credential_key_id, c.credential_wrapped_key, c.credential_ciphertext
  FROM platforms_platform p
  JOIN platforms_scope s ON s.platform_id = p.id AND s.name = %(scope)s
  JOIN platforms_grant g ON g.scope_id = s.id AND g.agent_id = %(agent)s AND g.revoked_at IS NULL
  LEFT JOIN platforms_connection c
         ON c.platform_id = p.id
        AND (g.connection_id IS NULL OR c.id = g.connection_id)
        AND (c.id = %(connection)s::uuid
             OR (%(connection)s::uuid IS NULL AND (c.is_default OR c.id = g.connection_id)))
 WHERE p.owner_id = %(owner)s AND p.slug = %(platform)s
"""


def find_coverage(
    *,
    owner_id: UUID,
    agent_id: str,
    platform: str,
    scope: str,
    method: str,
    endpoint: Endpoint,
    connection_id: UUID | None = None,
) -> Coverage:
    """The current grant that covers agent, platform, scope, connection, method and path.

    Raises:
        NotCovered: no such grant (`scope_not_granted`; also for a platform or scope that does not exist, so that
            nothing can be learnt by asking), or the scope does not cover this method and path
            (`endpoint_scope_mismatch`).
        NotConnected: granted, but there is no connection to use.
    """
    params: dict[str, str | UUID | None] = {
        "owner": owner_id,
        "agent": agent_id,
        "platform": platform,
        "scope": scope,
        "connection": connection_id,
    }
    with database.cursor() as cursor:
        cursor.execute(_SQL, params)
        row = cursor.fetchone()
    if row is None:
        raise NotCovered("scope_not_granted", f"The scope {scope} on {platform} is not granted to this agent.")
    (name, base_url, auth, rules, grant_id, grant_asks, conn_id, label, version, conn_asks, *sealed) = row
    rules, auth = json.loads(rules), json.loads(auth)  # Django leaves jsonb as text on raw cursors
    if not covers([parse_rule(rule) for rule in rules], method=method, path=endpoint.path):
        raise NotCovered(
            "endpoint_scope_mismatch",
            f"The scope {scope} does not cover {method} {endpoint.path} on {platform}.",
        )
    if conn_id is None:
        raise NotConnected
    key_id, wrapped_key, ciphertext = sealed
    return Coverage(
        grant_id=grant_id,
        platform=platform,
        platform_name=name,
        scope=scope,
        url=join_url(base_url, endpoint),
        auth=parse_auth(auth),
        connection_id=conn_id,
        connection_label=label,
        credential_version=version,
        require_approval=grant_asks or conn_asks,
        sealed=Sealed(key_id, bytes(wrapped_key), bytes(ciphertext)),
    )
