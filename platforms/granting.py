"""An admin gives, changes and takes the permissions of one agent."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Agent, AgentStatus, Member
from platforms.grants import Choice, change_of, give, give_chosen, revoke
from platforms.models import Grant


def add(*, member: Member, agent_id: str, choice: Choice, request_id: UUID, now: datetime) -> Grant:
    """The agent's grant of the scope, from now on as chosen. Locks: the agent, the grant.

    Raises:
        NotAllowed: the member is no admin.
        Agent.DoesNotExist: not an agent of the member's owner.
        NotPossible: a child has what its parent gave it; a revoked agent gets nothing; the end is past.
        NoSuchScope: see `platforms.grants.give_chosen`.
    """
    with transaction.atomic(durable=True):
        agent = _locked_agent(member, agent_id)
        return give_chosen(
            agent=agent, owner=member.owner, choice=choice, change=change_of(member, request_id=request_id, now=now)
        )


def set_approval(
    *, member: Member, agent_id: str, grant_id: int, require_approval: bool, request_id: UUID, now: datetime
) -> Grant:
    """Whether a person is asked before each call. Everything else about the grant stays.

    Raises:
        NotAllowed, Agent.DoesNotExist, NotPossible: as `add`.
        Grant.DoesNotExist: the agent has no such grant any more.
    """
    with transaction.atomic(durable=True):
        grant = _locked_grant(member, agent_id, grant_id)
        return give(
            agent=grant.agent,
            scope=grant.scope,
            require_approval=require_approval,
            connection=grant.connection,
            expires_at=grant.expires_at,
            change=change_of(member, request_id=request_id, now=now),
        )


def take(*, member: Member, agent_id: str, grant_id: int, request_id: UUID, now: datetime) -> Grant:
    """End the grant, for the agent's children too. Raises as `set_approval` does."""
    with transaction.atomic(durable=True):
        grant = _locked_grant(member, agent_id, grant_id)
        revoke(grant=grant, change=change_of(member, request_id=request_id, now=now))
    return grant


def _locked_agent(member: Member, agent_id: str) -> Agent:
    if not member.may_administer:
        raise NotAllowed
    agents = Agent.objects.for_owner(member.owner)
    agent = agents.select_for_update(of=("self",), no_key=True).get(pk=agent_id)
    if agent.parent_id is not None:
        raise NotPossible("A child agent has what its parent gave it: change the parent's permissions.")
    if agent.status == AgentStatus.REVOKED:
        raise NotPossible("The agent is revoked: its permissions count no more.")
    return agent


def _locked_grant(member: Member, agent_id: str, grant_id: int) -> Grant:
    agent = _locked_agent(member, agent_id)
    grants = Grant.objects.for_agent(agent.pk).filter(revoked_at=None)
    locking = grants.select_for_update(of=("self",), no_key=True)
    grant = locking.select_related("scope__platform", "connection").get(pk=grant_id)
    grant.agent = agent
    return grant
