"""How an agent gets its identity: its owner makes it and an invite, the agent hands in the public half of its key."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from agents.keys import read_public_key
from agents.lifecycle import NotAllowed, NotPossible
from agents.models import INVITE_LIFETIME, Agent, AgentKey, AgentStatus, Invite, InviteKind, Member
from agents.onetime import hash_of, new_secret
from audit.events import JSON, Actor, Event, Result
from audit.records import record

PREFIXES = {InviteKind.BIND: "bsec", InviteKind.INSTALL: "itok"}  # clients check them
_ENDED = (AgentStatus.SUSPENDED, AgentStatus.REVOKED)


class InviteGone(Exception):
    """The secret is unknown, used or too old."""


def invite(*, agent: Agent, now: datetime, kind: InviteKind = InviteKind.BIND) -> str:
    """A fresh one-time secret for the agent; unused earlier ones are void. The caller holds the transaction."""
    Invite.objects.filter(agent=agent, used_at=None).delete()
    secret = new_secret(PREFIXES[kind])
    Invite.objects.create(
        agent=agent, kind=kind, secret_hash=hash_of(secret), created_at=now, expires_at=now + INVITE_LIFETIME
    )
    return secret


def issue_invite(*, member: Member, agent_id: str, kind: InviteKind, now: datetime, request_id: UUID | None) -> str:
    """A secret for the owner to hand on: a bind secret, or the install token that rotates the agent's key.

    Raises:
        NotAllowed: the member is no admin.
        Agent.DoesNotExist: not a root agent of the member's owner.
        NotPossible: the agent may not act.
    """
    if not member.may_administer:
        raise NotAllowed
    with transaction.atomic(durable=True):
        roots = Agent.objects.for_owner(member.owner).roots()
        agent = roots.select_for_update(of=("self",), no_key=True).get(pk=agent_id)
        if agent.status in _ENDED:
            raise NotPossible(f"The agent is {agent.status}: it gets no new key.")
        secret = invite(agent=agent, now=now, kind=kind)
        actor = Actor("member", str(member.user_id), member.user.email)
        _record(agent, Event.AGENT_INVITED, actor=actor, now=now, request_id=request_id, metadata={"kind": kind})
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


def bind_key(
    *, agent: Agent, pem: str, overlap: timedelta, actor: Actor, now: datetime, request_id: UUID | None
) -> AgentKey:
    """From now on the agent signs with this key. The key before it stays valid for the overlap, older ones end now.

    So there are at most two. The caller holds the transaction and the agent's lock.

    Raises:
        KeyRefused: see `agents.keys.read_public_key`.
    """
    key, _ = add_key(agent=agent, pem=pem)
    others = AgentKey.objects.filter(Q(retired_at=None) | Q(retired_at__gt=now), agent=agent).exclude(pk=key.pk)
    newest_first = sorted(others, key=lambda one: (one.retired_at is None, one.pk), reverse=True)
    for index, other in enumerate(newest_first):
        end = now + overlap if index == 0 else now
        if other.retired_at is not None and other.retired_at <= end:
            continue
        other.retired_at = end
        other.save(update_fields=["retired_at"])
        facts: dict[str, JSON] = {"thumbprint": other.thumbprint, "valid_until": end.isoformat()}
        _record(agent, Event.AGENT_KEY_RETIRED, actor=actor, now=now, request_id=request_id, metadata=facts)
    facts = {"thumbprint": key.thumbprint}
    _record(agent, Event.AGENT_KEY_BOUND, actor=actor, now=now, request_id=request_id, metadata=facts)
    return key


def bind(*, kind: InviteKind, secret: str, pem: str, request_id: UUID, now: datetime) -> Agent:
    """Use the invite up: from now on the agent signs with this key.

    Earlier keys end at once after a bind secret, and after AGENTVALET_KEY_OVERLAP seconds after an install token.

    Raises:
        InviteGone: the secret is unknown, used or too old, of another kind, or its agent may not act.
        KeyRefused: see `agents.keys.read_public_key`; the invite stays as it is.
    """
    invites = Invite.objects.filter(secret_hash=hash_of(secret), kind=kind)
    with transaction.atomic(durable=True):
        agent_id = invites.values_list("agent_id", flat=True).first()
        if agent_id is None:
            raise InviteGone
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent_id)  # before the invite
        found = invites.select_for_update(of=("self",), no_key=True).first()
        if found is None or not found.is_open(now) or agent.status in _ENDED:
            raise InviteGone
        found.used_at = now
        found.save(update_fields=["used_at"])
        overlap = timedelta(seconds=settings.KEY_OVERLAP if kind == InviteKind.INSTALL else 0)
        actor = Actor("agent", agent.pk, agent.name)
        bind_key(agent=agent, pem=pem, overlap=overlap, actor=actor, now=now, request_id=request_id)
    return agent


def _record(
    agent: Agent, event: Event, *, actor: Actor, now: datetime, request_id: UUID | None, metadata: dict[str, JSON]
) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=agent.owner_id,
        actor=actor,
        now=now,
        request_id=request_id,
        agent_id=agent.pk,
        agent_name=agent.name,
        metadata=metadata,
    )
