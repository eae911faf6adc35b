"""Who is calling the agent API: an agent's own assertion or a child's token, turned into a `Caller`."""

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

from agents.assertions import (
    RS256,
    Claims,
    ExpiredAssertion,
    InvalidAssertion,
    Unverified,
    read_claims,
    take_apart,
    verify,
)
from agents.errors import ApiError
from agents.http import stamped
from agents.models import AgentStatus
from agents.throttling import first_in_a_minute
from agents.tokens import ALGORITHM as CHILD_ALGORITHM
from agents.tokens import verify_child
from audit.events import JSON, Actor, Event, Result
from audit.records import record

logger = logging.getLogger(__name__)

_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SEEN_EVERY = timedelta(minutes=1)  # `last_seen_at` is for people: no write per call
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated agent. `session_id` is its own word, for the audit log only.

    `status` is that of the agent or, where that is worse, of its parent: a child may do nothing its parent may not.
    """

    agent_id: str
    agent_name: str
    owner_id: UUID
    status: str
    session_id: str
    parent_id: str = ""  # "" for a root agent
    parent_name: str = ""

    is_authenticated = True

    @property
    def is_child(self) -> bool:
        return self.parent_id != ""

    @property
    def family(self) -> str:
        """The root agent: limits count it and its children together."""
        return self.parent_id or self.agent_id

    @property
    def full_name(self) -> str:
        """For people and the record. A program picks the name of its child: whose child it is belongs to it."""
        return f"{self.agent_name} (child of {self.parent_name})" if self.is_child else self.agent_name

    @property
    def actor(self) -> Actor:
        return Actor("agent", self.agent_id, self.full_name)


# One round trip for agent, parent and keys: this runs before every call. A key whose retirement lies ahead still signs.
_SQL = """
SELECT a.owner_id, a.name, a.status, a.last_seen_at, a.expires_at, a.parent_id, p.status, p.name,
       array_agg(k.public_key_pem ORDER BY k.id) FILTER (WHERE k.id IS NOT NULL)
  FROM agents_agent a
  LEFT JOIN agents_agent p ON p.id = a.parent_id
  LEFT JOIN agents_agentkey k ON k.agent_id = a.id AND (k.retired_at IS NULL OR k.retired_at > %(now)s)
 WHERE a.id = %(agent)s
 GROUP BY a.id, p.id
"""
_FROM_GOOD_TO_BAD = [AgentStatus.ACTIVE, AgentStatus.PENDING, AgentStatus.SUSPENDED, AgentStatus.REVOKED]


class AssertionAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`: the RS256 assertion of an agent with a key, or the Ed25519 token of a child.

    The header's `alg` only chooses the check. Each check takes one algorithm and one kind of key, and an agent passes
    one of the two: a root agent has no token, a child has no key.
    """

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, "Send an assertion: Authorization: Bearer <JWT>", headers=_CHALLENGE)
        now = stamped(request).now
        identity = None
        try:
            unverified = take_apart(token.strip())
            identity = _Identity.of(unverified, session_id=request.headers.get("X-AV-Session", ""), now=now)
            identity.verify(unverified, now)
        except ExpiredAssertion as error:
            # The agent is known by its signature, so this is on record.
            if identity is not None:
                record_turned_away(identity.caller, request_id=stamped(request).request_id, reason=error.code, now=now)
            raise ApiError(401, "Invalid JWT", code=error.code, headers=_CHALLENGE) from error
        except InvalidAssertion as error:
            # Anyone can name an agent: nothing is held against it, and nobody learns which check failed.
            logger.info("refused an assertion: %s", error.code)
            raise ApiError(401, "Invalid JWT", headers=_CHALLENGE) from error
        _note_seen(identity.caller.agent_id, identity.last_seen_at, now)
        return identity.caller, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """The agent that a token names, as the database knows it."""

    caller: Caller
    claims: Claims
    keys: list[str]
    expires_at: datetime | None
    last_seen_at: datetime | None

    @classmethod
    def of(cls, unverified: Unverified, *, session_id: str, now: datetime) -> "_Identity":
        """Raises InvalidAssertion where there is no such agent."""
        claims = read_claims(unverified)
        with connection.cursor() as cursor:
            cursor.execute(_SQL, {"agent": claims.agent_id, "now": now})
            row = cursor.fetchone()
        if row is None:
            raise InvalidAssertion("unknown_agent")
        owner_id, name, status, last_seen_at, expires_at, parent_id, parent_status, parent_name, keys = row
        caller = Caller(
            agent_id=claims.agent_id,
            agent_name=name,
            owner_id=owner_id,
            status=max(status, parent_status or AgentStatus.ACTIVE, key=_FROM_GOOD_TO_BAD.index),
            session_id=_session_id(claims.session_id or session_id),
            parent_id=parent_id or "",
            parent_name=parent_name or "",
        )
        return cls(caller=caller, claims=claims, keys=keys or [], expires_at=expires_at, last_seen_at=last_seen_at)

    def verify(self, unverified: Unverified, now: datetime) -> None:
        """Raises InvalidAssertion and ExpiredAssertion."""
        owner_id, seconds = str(self.caller.owner_id), now.timestamp()
        if unverified.algorithm == RS256 and not self.caller.is_child:
            verify(unverified, claims=self.claims, public_keys_pem=self.keys, owner_id=owner_id, now=seconds)
        elif unverified.algorithm == CHILD_ALGORITHM and self.caller.is_child:
            verify_child(
                unverified, claims=self.claims, owner_id=owner_id, parent_id=self.caller.parent_id, now=seconds
            )
            if self.expires_at is None or now >= self.expires_at:
                raise ExpiredAssertion("token_expired")
        else:
            raise InvalidAssertion("bad_alg")


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


def record_turned_away(caller: Caller, *, request_id: UUID, reason: str, now: datetime) -> None:
    """Put on record that an agent was turned away at the door, before it said what it wants.

    No limit of calls holds such a caller back, and one token can be shown for ever: so once a minute for each agent and
    reason, which makes an attempt and its repetition by the client one row.
    """
    if first_in_a_minute(key=f"turned-away:{caller.agent_id}:{reason}", now=now):
        record_refusal(caller, request_id=request_id, reason=reason, now=now)


def _session_id(text: str) -> str:
    return text if _SESSION_ID.fullmatch(text) else ""


def _note_seen(agent_id: str, last_seen_at: datetime | None, now: datetime) -> None:
    if last_seen_at is not None and now - last_seen_at < _SEEN_EVERY:
        return
    with connection.cursor() as cursor:
        cursor.execute("UPDATE agents_agent SET last_seen_at = %s WHERE id = %s", [now, agent_id])
