"""Who is calling the agent API: the bearer assertion, turned into a `Caller`."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from django.db import connection, transaction
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from agents.assertions import ExpiredAssertion, InvalidAssertion, read_claims, verify
from agents.errors import ApiError
from agents.http import stamped
from audit.events import JSON, Actor, Event, Result
from audit.records import record

logger = logging.getLogger(__name__)

_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SEEN_EVERY = timedelta(minutes=1)  # `last_seen_at` is for people: no write per call
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated agent. `session_id` is its own word, for the audit log only."""

    agent_id: str
    agent_name: str
    owner_id: UUID
    status: str
    session_id: str

    is_authenticated = True

    @property
    def actor(self) -> Actor:
        return Actor("agent", self.agent_id, self.agent_name)


# One round trip for agent and keys: this runs before every call.
_SQL = """
SELECT a.owner_id, a.name, a.status, a.last_seen_at, array_agg(k.public_key_pem ORDER BY k.id)
  FROM agents_agent a JOIN agents_agentkey k ON k.agent_id = a.id AND k.retired_at IS NULL
 WHERE a.id = %s
 GROUP BY a.id
"""


class AssertionAuthentication(BaseAuthentication):
    """`Authorization: Bearer <RS256 assertion>`, as every published client signs it."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "Send an assertion: Authorization: Bearer <JWT>", headers=_CHALLENGE)
        now = stamped(request).now
        try:
            claims = read_claims(token.strip())
            with connection.cursor() as cursor:
                cursor.execute(_SQL, [claims.agent_id])
                row = cursor.fetchone()
            if row is None:
                raise InvalidAssertion("unknown_agent")
            owner_id, name, status, last_seen_at, keys = row
            caller = Caller(
                agent_id=claims.agent_id,
                agent_name=name,
                owner_id=owner_id,
                status=status,
                session_id=_session_id(claims.session_id or request.headers.get("X-AV-Session", "")),
            )
            verify(token.strip(), claims=claims, public_keys_pem=keys, owner_id=str(owner_id), now=now.timestamp())
        except ExpiredAssertion as error:
            # The agent is known by its signature, so this is on record.
            record_refusal(caller, request_id=stamped(request).request_id, reason=error.code, now=now)
            raise ApiError(401, "Invalid JWT", code=error.code, headers=_CHALLENGE) from error
        except InvalidAssertion as error:
            # Anyone can name an agent: nothing is held against it, and nobody learns which check failed.
            logger.info("refused an assertion: %s", error.code)
            raise ApiError(401, "Invalid JWT", headers=_CHALLENGE) from error
        _note_seen(caller.agent_id, last_seen_at, now)
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def caller_of(request: Request) -> Caller:
    """The agent behind a request that `AssertionAuthentication` let in."""
    return cast(Caller, request.user)


def record_refusal(
    caller: Caller,
    *,
    request_id: UUID,
    reason: str,
    now: datetime,
    platform: str = "",
    action: str = "",
    metadata: Mapping[str, JSON] | None = None,
) -> UUID:
    """Put on record that a known agent was turned away; returns the audit id."""
    with transaction.atomic(durable=True):
        return record(
            event=Event.ACTION_DENIED,
            result=Result.DENIED,
            owner_id=caller.owner_id,
            actor=caller.actor,
            now=now,
            request_id=request_id,
            agent_id=caller.agent_id,
            agent_name=caller.agent_name,
            platform=platform,
            action=action,
            session_id=caller.session_id,
            reason=reason,
            metadata=metadata,
        )


def _session_id(text: str) -> str:
    return text if _SESSION_ID.fullmatch(text) else ""


def _note_seen(agent_id: str, last_seen_at: datetime | None, now: datetime) -> None:
    if last_seen_at is not None and now - last_seen_at < _SEEN_EVERY:
        return
    with connection.cursor() as cursor:
        cursor.execute("UPDATE agents_agent SET last_seen_at = %s WHERE id = %s", [now, agent_id])
