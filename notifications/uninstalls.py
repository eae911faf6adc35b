"""Agents that ask to be uninstalled: asked by the agent, decided by an admin, watched by whoever holds the token."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from agents import lifecycle
from agents.authentication import Caller
from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Agent, AgentStatus, Member
from agents.onetime import hash_of, new_secret
from audit.events import JSON, Actor, Event, Result
from audit.records import record
from notifications.inbox import notify, withdraw
from notifications.models import UninstallRequest, UninstallStatus
from notifications.sweeping import going_on

logger = logging.getLogger(__name__)

LIFETIME = timedelta(seconds=300)  # as long as the published client waits

_SYSTEM = Actor("system", "worker", "AgentValet")


class AlreadyDecided(Exception):
    """Somebody, or time, was first. `request` says who."""

    def __init__(self, request: UninstallRequest) -> None:
        super().__init__(f"{request.pk} is {request.status}")
        self.request = request


class AlreadyRevoked(Exception):
    """There is nothing left to ask for."""


def ask(*, caller: Caller, reason: str, request_id: UUID, now: datetime) -> str:
    """Put the agent's wish before its owner; returns a token to watch it with.

    While one is pending, it is the same request: its token is replaced, and it is told to nobody a second time.

    Raises:
        AlreadyRevoked: the agent was revoked.
        NotPossible: it is a child, which is nowhere installed and ends by itself.
    """
    if caller.is_child:
        raise NotPossible("A child agent ends with its time: there is nothing to uninstall.")
    token = new_secret("rvk")
    with transaction.atomic(durable=True):
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=caller.agent_id)
        if agent.status == AgentStatus.REVOKED:
            raise AlreadyRevoked
        pending = UninstallRequest.objects.filter(agent=agent, status=UninstallStatus.PENDING).first()
        if pending is not None and now < pending.expires_at:
            pending.token_hash = hash_of(token)
            pending.save(update_fields=["token_hash"])
            return token
        if pending is not None:
            _end(pending, UninstallStatus.TIMEOUT, now=now)
        wish = UninstallRequest.objects.create(
            owner_id=caller.owner_id,
            agent=agent,
            token_hash=hash_of(token),
            reason=reason,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        notify(
            owner_id=caller.owner_id,
            tag=_tag(wish),
            title=f"Uninstall requested: {agent.name}",
            url="/notifications",
            now=now,
        )
        if pending is not None:
            _record(pending, Event.AGENT_UNINSTALL_EXPIRED, Result.DENIED, _SYSTEM, now, None)
        _record(
            wish, Event.AGENT_UNINSTALL_REQUESTED, Result.PENDING, caller.actor, now, request_id,
            session_id=caller.session_id,
        )  # fmt: skip
    return token


def status_of(*, token: str, now: datetime) -> str | None:
    """What became of the request: pending, approved, rejected or timeout. None where there is no such token."""
    found = UninstallRequest.objects.select_related("agent").filter(token_hash=hash_of(token)).first()
    if found is None:
        return None
    undecided = found.status in {UninstallStatus.PENDING, UninstallStatus.TIMEOUT}
    if undecided and found.agent.status == AgentStatus.REVOKED:
        return UninstallStatus.APPROVED  # the owner revoked it without looking at the request
    if found.status == UninstallStatus.PENDING and now >= found.expires_at:
        return UninstallStatus.TIMEOUT
    return found.status


def approve(*, member: Member, uninstall_id: UUID, request_id: UUID | None, now: datetime) -> list[Agent]:
    """Revoke the agent and its children, as it asked; returns them.

    Raises:
        NotAllowed: the member is no admin.
        UninstallRequest.DoesNotExist: not a request of the member's owner.
        AlreadyDecided: by somebody else, or by time.
    """
    with transaction.atomic(durable=True):
        wish = _locked(member, uninstall_id, now)
        _end(wish, UninstallStatus.APPROVED, now=now, by=member.user.email)
        return lifecycle.revoke(
            member=member,
            agent_id=wish.agent_id,
            reason="It asked to be uninstalled.",
            now=now,
            request_id=request_id,
        )


def reject(*, member: Member, uninstall_id: UUID, request_id: UUID | None, now: datetime) -> UninstallRequest:
    """Leave the agent as it is. Raises as `approve` does."""
    with transaction.atomic(durable=True):
        wish = _locked(member, uninstall_id, now)
        _end(wish, UninstallStatus.REJECTED, now=now, by=member.user.email)
        actor = Actor("member", str(member.user_id), member.user.email)
        _record(wish, Event.AGENT_UNINSTALL_REJECTED, Result.DENIED, actor, now, request_id)
    return wish


def expire_due(*, now: datetime, limit: int = 500) -> int:
    """Take what nobody decided in time out of the inbox; returns how many."""
    due = UninstallRequest.objects.filter(status=UninstallStatus.PENDING, expires_at__lte=now).order_by("expires_at")
    expired = 0
    for pk, agent_id in due.values_list("pk", "agent_id")[:limit]:
        with going_on(logger, f"expiring the request {pk} to be uninstalled"), transaction.atomic(durable=True):
            Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent_id)
            wish = UninstallRequest.objects.select_related("agent").get(pk=pk)
            if wish.status == UninstallStatus.PENDING:
                _end(wish, UninstallStatus.TIMEOUT, now=now)
                _record(wish, Event.AGENT_UNINSTALL_EXPIRED, Result.DENIED, _SYSTEM, now, None)
                expired += 1
    return expired


def _locked(member: Member, uninstall_id: UUID, now: datetime) -> UninstallRequest:
    """The pending request. It is its agent's row that is locked, here as everywhere."""
    if not member.may_administer:
        raise NotAllowed
    requests = UninstallRequest.objects.for_owner(member.owner)
    agent_id = requests.get(pk=uninstall_id).agent_id
    Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent_id)
    wish = requests.select_related("agent").get(pk=uninstall_id)
    if wish.status != UninstallStatus.PENDING or now >= wish.expires_at:
        raise AlreadyDecided(wish)
    return wish


def _end(wish: UninstallRequest, status: UninstallStatus, *, now: datetime, by: str = "") -> None:
    wish.status, wish.decided_at, wish.decided_by = status, now, by
    wish.save(update_fields=["status", "decided_at", "decided_by"])
    withdraw(owner_id=wish.owner_id, tag=_tag(wish), now=now)


def _tag(wish: UninstallRequest) -> str:
    return f"uninstall:{wish.agent_id}"


def _record(
    wish: UninstallRequest,
    event: Event,
    result: Result,
    actor: Actor,
    now: datetime,
    request_id: UUID | None,
    *,
    session_id: str = "",
) -> None:
    facts: dict[str, JSON] = {"uninstall_id": str(wish.pk), "expires_at": wish.expires_at.isoformat()}
    record(
        event=event,
        result=result,
        owner_id=wish.owner_id,
        actor=actor,
        now=now,
        request_id=request_id,
        agent_id=wish.agent_id,
        agent_name=wish.agent.name,
        session_id=session_id,
        metadata=facts,
    )
