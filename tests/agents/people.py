"""What tests of identities share: children, verbs of an admin, and what is on record."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.test import Client
from django.utils import timezone

from agents.lifecycle import create_agent
from agents.models import Agent, AgentStatus, Member
from agents.tokens import mint_child_token
from audit.events import Actor
from audit.models import AuditEvent
from tests.world import Side

ANYWHERE = f"/v1/approvals/{uuid4()}"  # nothing there: 404 means the token was taken


def make_child(side: Side, *, name: str = "helper", ttl: int = 900, now: datetime | None = None) -> Agent:
    now = now or timezone.now()
    with transaction.atomic():
        return create_agent(
            owner_id=side.owner.pk,
            name=name,
            status=AgentStatus.ACTIVE,
            actor=Actor("agent", side.agent.pk, side.agent.name),
            now=now,
            request_id=None,
            parent_id=side.agent.pk,
            expires_at=now + timedelta(seconds=ttl),
        )


def token_of(child: Agent) -> str:
    return mint_child_token(child=child, now=timezone.now())


def look(client: Client, token: str) -> Any:
    return client.get(ANYWHERE, headers={"Authorization": f"Bearer {token}"})


def by(member: Member, **more: Any) -> dict[str, Any]:
    """Arguments of every verb in `agents.lifecycle`."""
    return {"member": member, "now": timezone.now(), "request_id": None} | more


def events(side: Side) -> list[tuple[str, str]]:
    """Event and agent of every row of the owner, in order."""
    rows = AuditEvent.objects.filter(owner_id=side.owner.pk).order_by("seq")
    return [(row.event, row.agent_name) for row in rows]
