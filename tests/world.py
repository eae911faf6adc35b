"""The world of a test: two owners that know nothing of each other, their people, an agent each, a counted platform."""

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from agents.authentication import Caller
from agents.enrolment import add_key
from agents.models import Agent, AgentStatus, Member, Owner, Role, User
from approvals.actions import Action
from approvals.models import ApprovalRequest
from approvals.services import Forwarded, submit_action
from platforms.destinations import bind
from platforms.models import Connection, Grant, Platform, Scope, credential_aad
from platforms.vault import seal

PASSWORD = "correct horse battery"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A fresh key per name and test process. Kept as an object: to load one from PEM checks it, for 40 ms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def private_key(name: str) -> str:
    """The key as PKCS#8 PEM."""
    return (
        rsa_key(name)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


@cache
def public_key(name: str) -> str:
    """The public half, SubjectPublicKeyInfo PEM."""
    return (
        rsa_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def assertion(agent: Agent, *, key: str = "", **claims: Any) -> str:
    """What a published client sends: RS256 over agent, owner and sixty seconds."""
    now = int(time.time())
    body = {"agent_id": agent.pk, "owner_id": str(agent.owner_id), "iat": now, "exp": now + 60} | claims
    return jwt.encode(body, rsa_key(key or agent.name), algorithm="RS256")


def bearer(agent: Agent, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {assertion(agent, **claims)}"}


@dataclass
class CountingPlatform:
    """The fake of tests/fakes/counting_platform.py, seen from the test."""

    url: str
    token: str
    log: Path

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was sent since the test began."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@dataclass
class Side:
    """One owner with its people, agent and platform."""

    owner: Owner
    members: dict[str, Member]
    agent: Agent
    platform: Platform
    connection: Connection
    grants: dict[str, Grant] = field(default_factory=dict)

    @property
    def admin(self) -> Member:
        return self.members["admin"]

    @property
    def approver(self) -> Member:
        return self.members["approver"]

    @property
    def auditor(self) -> Member:
        return self.members["auditor"]


# Name, rules, whether a person is asked.
SCOPES = (("chat:read", ["GET /**"], False), ("chat:write", ["POST /**", "DELETE /api/messages/*"], True))


def make_side(
    name: str,
    *,
    base_url: str,
    token: str,
    agent_name: str = "",
    scopes: Iterable[tuple[str, list[str], bool]] = SCOPES,
) -> Side:
    """An owner with three members, an agent, and two scopes: chat:read (straight through) and chat:write (asks)."""
    owner = Owner.objects.create(name=name)
    members = {role.value: make_member(owner, f"{role.value}@{name.lower()}.example", role) for role in Role}
    agent = Agent.objects.create(owner=owner, name=agent_name or f"{name} bot", status=AgentStatus.ACTIVE)
    add_key(agent=agent, pem=public_key(agent.name))
    platform = Platform.objects.create(
        owner=owner, slug="acme-chat", name="Acme Chat", base_url=base_url, auth={"type": "bearer"}
    )
    side = Side(owner, members, agent, platform, make_connection(platform, token))
    for scope, rules, asks in scopes:
        rule = Scope.objects.create(platform=platform, name=scope, rules=rules)
        side.grants[scope] = Grant.objects.create(agent=agent, scope=rule, require_approval=asks)
    return side


@cache
def _password_hash() -> str:
    return make_password(PASSWORD)  # slow on purpose, so once


def make_member(owner: Owner, email: str, role: Role) -> Member:
    """A person with the password PASSWORD."""
    user = User.objects.create(email=email, password=_password_hash())
    return Member.objects.create(owner=owner, user=user, role=role)


def make_connection(platform: Platform, token: str, *, label: str = "Main", default: bool = True) -> Connection:
    connection = Connection(platform=platform, label=label, is_default=default, credential_version=1)
    sealed = seal(token, aad=credential_aad(connection_id=connection.pk, version=1))
    connection.credential_key_id = sealed.key_id
    connection.credential_wrapped_key = sealed.wrapped_key
    connection.credential_ciphertext = sealed.ciphertext
    bind(connection, platform)
    connection.save()
    return connection


def change_platform(platform: Platform, **change: Any) -> None:
    """What the server does when a platform is at another address or wants its credential otherwise."""
    for name, value in change.items():
        setattr(platform, name, value)
    platform.save()
    for connection in platform.connections.all():
        bind(connection, platform)
        connection.save()


def new_token() -> str:
    return f"tok-{secrets.token_hex(16)}"


def submit(side: Side, *, agent: Agent | None = None, now: datetime | None = None, **change: Any) -> ApprovalRequest:
    """Have the side's agent (or another of its owner) ask for POST /api/messages; what waits for a person comes back."""
    queued = act(side, agent=agent, now=now, **change)
    assert isinstance(queued, ApprovalRequest)
    return queued


def act(
    side: Side, *, agent: Agent | None = None, now: datetime | None = None, **change: Any
) -> ApprovalRequest | Forwarded:
    """The same, whether a person has to be asked or not."""
    agent = agent or side.agent
    action = Action(
        platform="acme-chat",
        scope="chat:write",
        method="POST",
        endpoint="/api/messages",
        body='{"text":"hello"}',
        connection_id=None,
        reason="",
    )
    caller = Caller(
        agent_id=agent.pk,
        agent_name=agent.name,
        owner_id=side.owner.pk,
        status=AgentStatus.ACTIVE,
        session_id="",
        parent_id=agent.parent_id or "",
    )
    return submit_action(
        caller=caller,
        action=replace(action, **change),
        requester_address="192.0.2.1",
        request_id=uuid4(),
        now=now or timezone.now(),
    )
