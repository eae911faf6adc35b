"""How an agent gets its identity: its owner makes it and an invite, the agent hands in the public half of its key."""

import hashlib
import secrets
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.keys import read_public_key
from agents.models import INVITE_LIFETIME, Agent, AgentKey, AgentStatus, Invite
from audit.events import Actor, Event, Result
from audit.records import record


class InviteGone(Exception):
    """The secret is unknown, used or too old."""


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def invite(*, agent: Agent, now: datetime) -> str:
    """A fresh one-time secret for the agent; unused earlier ones are void. The caller holds the transaction."""
    Invite.objects.filter(agent=agent, used_at=None).delete()
    secret = f"bsec_{secrets.token_urlsafe(32)}"
    Invite.objects.create(agent=agent, secret_hash=_hash(secret), created_at=now, expires_at=now + INVITE_LIFETIME)
    return secret


def add_key(*, agent: Agent, pem: str) -> tuple[AgentKey, bool]:
    """Let the agent sign with this key; returns it, and whether it is new. The caller holds the transaction.

    Raises:
        KeyRefused: see `agents.keys.read_public_key`.
    """
    normal, thumbprint = read_public_key(pem)
    key, created = AgentKey.objects.get_or_create(
        agent=agent, thumbprint=thumbprint, defaults={"public_key_pem": normal}
    )
    if key.retired_at is not None:
        key.retired_at = None
        key.save(update_fields=["retired_at"])
        return key, True
    return key, created


def bind(*, secret: str, pem: str, request_id: UUID, now: datetime) -> Agent:
    """Use the invite up: from now on the agent signs with this key, and with no earlier one.

    Raises:
        InviteGone: the secret is unknown, used or too old, or its agent may not act.
        KeyRefused: see `agents.keys.read_public_key`.
    """
    normal, thumbprint = read_public_key(pem)
    with transaction.atomic(durable=True):
        found = (
            Invite.objects.select_for_update(of=("self",), no_key=True)
            .select_related("agent")
            .filter(secret_hash=_hash(secret))
            .first()
        )
        if (
            found is None
            or not found.is_open(now)
            or found.agent.status in {AgentStatus.REVOKED, AgentStatus.SUSPENDED}
        ):
            raise InviteGone
        found.used_at = now
        found.save(update_fields=["used_at"])
        agent = found.agent
        AgentKey.objects.filter(agent=agent, retired_at=None).exclude(thumbprint=thumbprint).update(retired_at=now)
        add_key(agent=agent, pem=normal)
        record(
            event=Event.AGENT_KEY_BOUND,
            result=Result.INFO,
            owner_id=agent.owner_id,
            actor=Actor("agent", agent.pk, agent.name),
            now=now,
            request_id=request_id,
            agent_id=agent.pk,
            agent_name=agent.name,
            metadata={"thumbprint": thumbprint},
        )
    return agent
