"""Tokens of child agents: what the server minted is taken until the child, its parent or its time ends."""

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import lifecycle
from agents.enrolment import add_key
from agents.models import Agent
from agents.tokens import SigningUnavailable, mint_child_token
from audit.models import AuditEvent
from tests.agents.people import by, look, make_child, token_of
from tests.world import Side, assertion, public_key, rsa_key

HEADER = {"alg": "Ed25519", "typ": "agentvalet-child+jwt"}


def b64(value: bytes | dict[str, Any]) -> str:
    data = json.dumps(value).encode() if isinstance(value, dict) else value
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def server_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(settings.TOKEN_KEY))


def claims(child: Agent, **change: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": settings.PUBLIC_URL,
        "sub": child.pk,
        "agent_id": child.pk,
        "owner_id": str(child.owner_id),
        "parent_agent_id": child.parent_id,
        "iat": now,
        "exp": now + 900,
    } | change


def signed(header: dict[str, Any], payload: dict[str, Any], key: Ed25519PrivateKey | None = None) -> str:
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64((key or server_key()).sign(text.encode()))}"


def rs256(header: dict[str, Any], payload: dict[str, Any], name: str) -> str:
    """The bytes under RSASSA-PKCS1-v1_5 with SHA-256, whatever the header says."""
    text = f"{b64(header)}.{b64(payload)}"
    signature = rsa_key(name).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64(signature)}"


def test_a_child_gets_in_with_what_was_minted_for_it(client: Client, acme: Side) -> None:
    child = make_child(acme)
    token = token_of(child)
    assert look(client, token).status_code == 404
    assert look(client, token).status_code == 404
    child.refresh_from_db()
    assert child.last_seen_at is not None
    header, payload, _ = (
        json.loads(base64.urlsafe_b64decode(part + "==")) if i < 2 else {} for i, part in enumerate(token.split("."))
    )
    assert header == HEADER
    assert payload["sub"] == payload["agent_id"] == child.pk
    assert (payload["owner_id"], payload["parent_agent_id"]) == (str(acme.owner.pk), acme.agent.pk)
    assert payload["iss"] == settings.PUBLIC_URL
    assert payload["exp"] == int(child.expires_at.timestamp())  # type: ignore[union-attr]


def test_a_childs_deeds_are_on_record_as_its_own_with_the_session_it_names(client: Client, acme: Side) -> None:
    child = make_child(acme)
    lifecycle.suspend(agent_id=child.pk, **by(acme.admin))
    headers = {"Authorization": f"Bearer {token_of(child)}", "X-AV-Session": "run:7"}
    client.get("/v1/approvals/00000000-0000-4000-8000-000000000000", headers=headers)
    row = AuditEvent.objects.filter(event="action.denied").get()
    assert (row.agent_id, row.agent_name, row.session_id) == (child.pk, "helper", "run:7")


HOSTILE: dict[str, Callable[[Side, Agent], str]] = {
    "another key": lambda side, child: signed(HEADER, claims(child), Ed25519PrivateKey.generate()),
    "alg EdDSA": lambda side, child: signed(HEADER | {"alg": "EdDSA"}, claims(child)),
    "alg none": lambda side, child: f"{b64(HEADER | {'alg': 'none'})}.{b64(claims(child))}.{b64(b'x')}",
    "alg RS256 over an Ed25519 signature": lambda side, child: signed(HEADER | {"alg": "RS256"}, claims(child)),
    "alg Ed25519 over an RS256 signature": lambda side, child: rs256(HEADER, claims(child), side.agent.name),
    "HS256 with the server's public key": lambda side, child: jwt.encode(
        claims(child), server_key().public_key().public_bytes_raw(), algorithm="HS256", headers={"typ": HEADER["typ"]}
    ),
    "typ JWT": lambda side, child: signed(HEADER | {"typ": "JWT"}, claims(child)),
    "no typ": lambda side, child: signed({"alg": "Ed25519"}, claims(child)),
    "typ of another case": lambda side, child: signed(HEADER | {"typ": "AgentValet-Child+JWT"}, claims(child)),
    "crit": lambda side, child: signed(HEADER | {"crit": ["x"], "x": 1}, claims(child)),
    "a key of its own in the header": lambda side, child: signed(
        HEADER | {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}}, claims(child), Ed25519PrivateKey.generate()
    ),
    "another issuer": lambda side, child: signed(HEADER, claims(child, iss="https://api.agentvalet.ai")),
    "another subject": lambda side, child: signed(HEADER, claims(child, sub=side.agent.pk)),
    "another parent": lambda side, child: signed(HEADER, claims(child, parent_agent_id=child.pk)),
    "another owner": lambda side, child: signed(HEADER, claims(child, owner_id=child.pk)),
    "no parent": lambda side, child: signed(HEADER, claims(child, parent_agent_id="")),
    "the server's token for a root agent": lambda side, child: signed(
        HEADER, claims(side.agent, parent_agent_id=side.agent.pk)
    ),
    "a parent's assertion for the child": lambda side, child: assertion(side.agent, agent_id=child.pk),
    "time over": lambda side, child: signed(HEADER, claims(child, iat=int(time.time()) - 100, exp=int(time.time()))),
    "from the future": lambda side, child: signed(HEADER, claims(child, iat=int(time.time()) + 100)),
    "unknown child": lambda side, child: signed(HEADER, claims(child, agent_id="agt_0", sub="agt_0")),
    "a signature cut short": lambda side, child: token_of(child)[:-3],
    "a bit flipped": lambda side, child: token_of(child)[:-10] + "A" + token_of(child)[-9:],
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_else_is_a_childs_token(client: Client, acme: Side, make: Callable[[Side, Agent], str]) -> None:
    response = look(client, make(acme, make_child(acme)))
    assert response.status_code == 401
    assert response.json()["error"] == "Invalid JWT"


def test_a_key_that_a_child_got_hold_of_opens_nothing(client: Client, acme: Side) -> None:
    child = make_child(acme)
    add_key(agent=child, pem=public_key("child"))
    assert look(client, assertion(child, key="child")).status_code == 401


def test_an_agent_cannot_sign_for_another_owners_agent(client: Client, acme: Side, stranger: Side) -> None:
    child = make_child(acme)
    assert look(client, signed(HEADER, claims(child, parent_agent_id=stranger.agent.pk))).status_code == 401
    assert look(client, signed(HEADER, claims(child, owner_id=str(stranger.owner.pk)))).status_code == 401


def test_a_childs_time_ends_on_the_second(client: Client, acme: Side) -> None:
    child = make_child(acme)
    token = token_of(child)
    Agent.objects.filter(pk=child.pk).update(expires_at=timezone.now())  # the owner cut it short
    response = look(client, token)
    assert (response.status_code, response.json()["code"]) == (401, "token_expired")
    row = AuditEvent.objects.get(event="action.denied")
    assert (row.reason, row.agent_id) == ("token_expired", child.pk)


ENDINGS: dict[str, tuple[Callable[..., Any], bool, int, str]] = {
    "the child is suspended": (lifecycle.suspend, True, 403, "agent_suspended"),
    "the child is revoked": (lifecycle.revoke, True, 403, "agent_revoked"),
    "its parent is suspended": (lifecycle.suspend, False, 403, "agent_suspended"),
    "its parent is revoked": (lifecycle.revoke, False, 403, "agent_revoked"),
}


@pytest.mark.parametrize(("verb", "itself", "status", "reason"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_child_ends_with_itself_and_with_its_parent(
    client: Client, acme: Side, verb: Callable[..., Any], itself: bool, status: int, reason: str
) -> None:
    child = make_child(acme)
    token = token_of(child)
    assert look(client, token).status_code == 404
    verb(agent_id=child.pk if itself else acme.agent.pk, **by(acme.admin))
    response = look(client, token)
    assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert look(client, assertion(acme.agent)).status_code == (404 if itself else 403)


@pytest.mark.parametrize("status", ["suspended", "revoked", "pending"])
def test_a_parents_status_holds_for_a_child_that_was_left_active(client: Client, acme: Side, status: str) -> None:
    child = make_child(acme)
    Agent.objects.filter(pk=acme.agent.pk).update(status=status)  # as no verb of ours leaves it
    response = look(client, token_of(child))
    assert (response.status_code, response.json()["reason"]) == (403, f"agent_{status}")


def test_a_revoked_child_of_a_suspended_parent_is_revoked(client: Client, acme: Side) -> None:
    child = make_child(acme)
    token = token_of(child)
    lifecycle.revoke(agent_id=child.pk, **by(acme.admin))
    lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin))
    assert look(client, token).json()["reason"] == "agent_revoked"


def test_a_new_key_of_the_server_ends_todays_tokens(client: Client, acme: Side, settings: Settings) -> None:
    token = token_of(make_child(acme))
    settings.TOKEN_KEY = base64.b64encode(bytes(32)).decode()
    assert look(client, token).status_code == 401


@pytest.mark.parametrize("key", ["", "no base64!", "c2hvcnQ="])
def test_a_key_that_is_none_is_said_in_one_sentence(acme: Side, settings: Settings, key: str) -> None:
    settings.TOKEN_KEY = key
    with pytest.raises(SigningUnavailable, match="AGENTVALET_TOKEN_KEY is not a key"):
        token_of(make_child(acme))


def test_only_a_child_gets_a_token(acme: Side) -> None:
    with pytest.raises(ValueError, match="no child"):
        mint_child_token(child=acme.agent, now=timezone.now())


def test_a_token_is_no_longer_valid_than_its_child(acme: Side, client: Client) -> None:
    long_ago = timezone.now() - timedelta(seconds=70)
    child = make_child(acme, ttl=60, now=long_ago)
    assert look(client, mint_child_token(child=child, now=long_ago)).status_code == 401
