"""A new agent by its owner's hand: made active, with a secret for its program to bind a key with."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.enrolment import invite
from agents.lifecycle import NotAllowed, create_agent
from agents.models import Agent, AgentStatus, InviteKind, Member
from audit.events import Actor, Event, Result
from audit.records import record


def make_agent(
    *, member: Member, name: str, kind: InviteKind, request_id: UUID | None, now: datetime
) -> tuple[Agent, str]:
    """An active agent without any grant, and its one-time secret, which is not kept.

    Raises:
        NotAllowed: the member is no admin.
        NameRefused: see `agents.lifecycle.create_agent`.
    """
    if not member.may_administer:
        raise NotAllowed
    actor = Actor("member", str(member.user_id), member.user.email)
    with transaction.atomic(durable=True):
        agent = create_agent(
            owner_id=member.owner_id,
            name=name,
            status=AgentStatus.ACTIVE,
            actor=actor,
            now=now,
            request_id=request_id,
        )
        secret = invite(agent=agent, kind=kind, now=now)
        record(
            event=Event.AGENT_INVITED,
            result=Result.INFO,
            owner_id=agent.owner_id,
            actor=actor,
            now=now,
            request_id=request_id,
            agent_id=agent.pk,
            agent_name=agent.name,
            metadata={"kind": kind},
        )
    return agent, secret
