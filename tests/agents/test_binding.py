"""Binding keys through HTTP: bind secrets, install tokens with their overlap, and the MCP server's knock."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import lifecycle
from agents.enrolment import invite, issue_invite
from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Agent, AgentKey, Invite, InviteKind
from audit.models import AuditEvent
from tests.agents.people import by, look, make_child
from tests.world import Side, assertion, private_key, public_key

PATHS = {
    InviteKind.BIND: ("/v1/invites/bind", "bind_secret"),
    InviteKind.INSTALL: ("/v1/agents/bind", "bootstrap_token"),
}
KINDS = pytest.mark.parametrize("kind", list(InviteKind))


def post(client: Client, path: str, body: Any) -> Any:
    return client.post(path, json.dumps(body), content_type="application/json")


def bind(client: Client, kind: InviteKind, secret: object, key: str = "new", **more: Any) -> Any:
    path, name = PATHS[kind]
    return post(client, path, {name: secret, "public_key_pem": public_key(key)} | more)


def secret_for(side: Side, kind: InviteKind) -> str:
    return issue_invite(agent_id=side.agent.pk, kind=kind, **by(side.admin))


def rotate(client: Client, side: Side, key: str) -> None:
    assert bind(client, InviteKind.INSTALL, secret_for(side, InviteKind.INSTALL), key).status_code == 200


def works(client: Client, side: Side, key: str) -> bool:
    return bool(look(client, assertion(side.agent, key=key)).status_code == 404)


@KINDS
def test_the_secret_brings_the_key_and_answers_who_the_agent_is(client: Client, acme: Side, kind: InviteKind) -> None:
    secret = secret_for(acme, kind)
    assert secret.startswith("itok_" if kind == InviteKind.INSTALL else "bsec_")
    response = bind(client, kind, secret)
    assert response.status_code == 200
    assert response.json() == {
        "agent_id": acme.agent.pk,
        "owner_id": str(acme.owner.pk),
        "proxy_url": settings.PUBLIC_URL,
        "status": "active",
    }
    assert works(client, acme, "new")
    assert secret.encode() not in bytes(Invite.objects.get().secret_hash)


@KINDS
def test_it_is_used_once(client: Client, acme: Side, kind: InviteKind) -> None:
    secret = secret_for(acme, kind)
    bind(client, kind, secret)
    again = bind(client, kind, secret, "another")
    assert again.status_code == 410
    assert "used" in again.json()["error"]
    assert not works(client, acme, "another")


@KINDS
@pytest.mark.parametrize(("minutes", "status"), [(29, 200), (30, 410), (31, 410)])
def test_it_lives_thirty_minutes(client: Client, acme: Side, kind: InviteKind, minutes: int, status: int) -> None:
    with transaction.atomic():
        secret = invite(agent=acme.agent, kind=kind, now=timezone.now() - timedelta(minutes=minutes))
    assert bind(client, kind, secret).status_code == status


@KINDS
def test_a_newer_one_makes_it_void(client: Client, acme: Side, kind: InviteKind) -> None:
    older, newer = secret_for(acme, InviteKind.BIND), secret_for(acme, kind)
    assert bind(client, InviteKind.BIND, older).status_code == 410
    assert bind(client, kind, newer).status_code == 200


@KINDS
def test_one_kind_is_not_taken_for_the_other(client: Client, acme: Side, kind: InviteKind) -> None:
    other = InviteKind.BIND if kind == InviteKind.INSTALL else InviteKind.INSTALL
    secret = secret_for(acme, kind)
    assert bind(client, other, secret).status_code == 410
    assert bind(client, kind, secret).status_code == 200


@KINDS
@pytest.mark.parametrize("secret", ["itok_unknown", "bsec_unknown", "x" * 200, "' OR 1=1 --", "é"])
def test_an_unknown_one_is_gone(client: Client, acme: Side, kind: InviteKind, secret: str) -> None:
    assert bind(client, kind, secret).status_code == 410


@KINDS
@pytest.mark.parametrize("secret", [None, "", 5, True, [], {}, "x" * 201, "a\0b"])
def test_what_is_no_secret_is_a_bad_request(client: Client, acme: Side, kind: InviteKind, secret: object) -> None:
    response = bind(client, kind, secret)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


@KINDS
@pytest.mark.parametrize("pem", ["", "nonsense", 5, None, "x" * 8193, "PRIVATE"])
def test_a_key_that_is_refused_leaves_the_secret_as_it_was(
    client: Client, acme: Side, kind: InviteKind, pem: object
) -> None:
    secret = secret_for(acme, kind)
    sent = private_key("new") if pem == "PRIVATE" else pem
    assert bind(client, kind, secret, public_key_pem=sent).status_code == 400
    assert bind(client, kind, secret).status_code == 200


@KINDS
@pytest.mark.parametrize("verb", [lifecycle.suspend, lifecycle.revoke])
def test_it_does_not_revive_an_agent(client: Client, acme: Side, kind: InviteKind, verb: Any) -> None:
    secret = secret_for(acme, kind)
    verb(agent_id=acme.agent.pk, **by(acme.admin))
    assert bind(client, kind, secret).status_code == 410
    with pytest.raises(NotPossible):
        secret_for(acme, kind)


def test_a_bind_secret_ends_the_earlier_keys_at_once(client: Client, acme: Side) -> None:
    bind(client, InviteKind.BIND, secret_for(acme, InviteKind.BIND))
    assert not works(client, acme, acme.agent.name)
    rows = AuditEvent.objects.order_by("seq")
    assert [row.event for row in rows] == ["agent.invited", "agent.key_retired", "agent.key_bound"]
    assert {row.actor_kind for row in rows} == {"member", "agent"}


def test_after_an_install_token_the_earlier_key_stays_for_the_overlap(client: Client, acme: Side) -> None:
    before = timezone.now()
    rotate(client, acme, "second")
    assert works(client, acme, "second")
    assert works(client, acme, acme.agent.name)
    old = AgentKey.objects.get(retired_at__isnull=False)
    assert old.retired_at is not None
    assert timedelta(seconds=3600) <= old.retired_at - before < timedelta(seconds=3660)
    retired = AuditEvent.objects.get(event="agent.key_retired")
    assert retired.metadata == {"thumbprint": old.thumbprint, "valid_until": old.retired_at.isoformat()}
    AgentKey.objects.filter(pk=old.pk).update(retired_at=timezone.now())  # the hour is over
    assert not works(client, acme, acme.agent.name)
    assert works(client, acme, "second")


def test_the_third_key_ends_the_first(client: Client, acme: Side) -> None:
    rotate(client, acme, "second")
    rotate(client, acme, "third")
    assert [works(client, acme, key) for key in (acme.agent.name, "second", "third")] == [False, True, True]
    rotate(client, acme, "fourth")
    assert [works(client, acme, key) for key in ("second", "third", "fourth")] == [False, True, True]


def test_rotating_back_to_the_earlier_key_is_a_rotation(client: Client, acme: Side) -> None:
    rotate(client, acme, "second")
    rotate(client, acme, acme.agent.name)
    assert works(client, acme, acme.agent.name)
    assert AgentKey.objects.get(retired_at=None).public_key_pem == public_key(acme.agent.name)


def test_rotating_to_the_same_key_changes_nothing(client: Client, acme: Side) -> None:
    rotate(client, acme, acme.agent.name)
    assert AgentKey.objects.get().retired_at is None


def test_the_overlap_is_the_operators(client: Client, acme: Side, settings: Settings) -> None:
    settings.KEY_OVERLAP = 0
    rotate(client, acme, "second")
    assert not works(client, acme, acme.agent.name)


def test_a_key_of_one_agent_is_none_of_another(client: Client, acme: Side, stranger: Side) -> None:
    rotate(client, acme, "second")
    assert not works(client, stranger, "second")
    assert works(client, stranger, stranger.agent.name)


def test_only_an_admin_of_the_owner_hands_out_secrets(acme: Side, stranger: Side) -> None:
    for member in (acme.approver, acme.auditor):
        with pytest.raises(NotAllowed):
            issue_invite(agent_id=acme.agent.pk, kind=InviteKind.INSTALL, **by(member))
    for agent_id, member in ((acme.agent.pk, stranger.admin), (make_child(acme).pk, acme.admin)):
        with pytest.raises(Agent.DoesNotExist):
            issue_invite(agent_id=agent_id, kind=InviteKind.INSTALL, **by(member))
    assert not Invite.objects.exists()


@pytest.mark.parametrize("body", ["known", "{}", "[]", "nonsense", "\x00", '{"agent_id": 5}'])
def test_the_knock_of_an_agent_without_a_key_learns_nothing(client: Client, acme: Side, body: str) -> None:
    if body == "known":
        body = json.dumps({"agent_id": acme.agent.pk, "owner_id": str(acme.owner.pk)})
    response = client.post("/v1/bind-secret", body, content_type="application/json")
    assert (response.status_code, response.json()) == (200, {"ok": True})
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("path", ["/v1/invites/bind", "/v1/agents/bind", "/functions/v1/cli-auth"])
def test_an_address_that_asks_too_often_has_to_wait(client: Client, db: None, settings: Settings, path: str) -> None:
    settings.ANONYMOUS_PER_MINUTE = 3
    statuses = [post(client, path, {}).status_code for _ in range(4)]
    assert statuses == [400, 400, 400, 429]
    held = post(client, path, {})
    assert 0 < int(held["Retry-After"]) <= 20
    assert held.json()["code"] == "rate_limited"
    assert client.post(path, "{}", content_type="application/json", REMOTE_ADDR="192.0.2.9").status_code == 400
