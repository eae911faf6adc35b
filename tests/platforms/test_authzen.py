"""POST /v1/authzen/access through HTTP: a yes or no with its reason, about the caller alone."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform, Scope
from tests.world import Side, bearer, make_connection


def ask(client: Client, side: Side, wanted: str, **change: Any) -> Any:
    body = {
        "subject": {"type": "agent", "id": side.agent.pk},
        "action": {"name": "tool_call"},
        "resource": {"type": "platform_scope", "id": wanted},
    }
    content = json.dumps(body | change)
    return client.post("/v1/authzen/access", content, content_type="application/json", headers=bearer(side.agent))


def test_a_granted_scope_is_a_yes_that_says_whether_a_person_is_asked(client: Client, acme: Side) -> None:
    assert ask(client, acme, "acme-chat:chat:read").json() == {
        "decision": True,
        "reason": "approved",
        "context": {"reason": "approved", "require_approval": False},
    }
    assert ask(client, acme, "acme-chat:chat:write").json()["context"]["require_approval"] is True


@pytest.mark.parametrize("resource", ["stripe:charge", "acme-chat:chat:admin", "acme-chat:chat", "acme-chat:read"])
def test_what_is_not_granted_or_does_not_exist_is_the_same_no(client: Client, acme: Side, resource: str) -> None:
    response = ask(client, acme, resource)
    assert response.status_code == 200
    assert response.json() == {
        "decision": False,
        "reason": "scope_not_granted",
        "context": {"reason": "scope_not_granted"},
    }


def test_the_first_colon_divides(client: Client, acme: Side) -> None:
    scope = Scope.objects.create(platform=acme.platform, name="acme-chat:tool:echo", rules=["POST /echo"])
    Grant.objects.create(agent=acme.agent, scope=scope)
    assert ask(client, acme, "acme-chat:acme-chat:tool:echo").json()["decision"] is True


def test_an_ended_grant_and_a_suspended_platform_say_so(client: Client, acme: Side) -> None:
    Platform.objects.update(suspended_at=timezone.now())
    assert ask(client, acme, "acme-chat:chat:read").json()["reason"] == "platform_suspended"
    Grant.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert ask(client, acme, "acme-chat:chat:read").json()["reason"] == "grant_expired"


def test_a_grant_without_a_connection_is_a_yes_all_the_same(client: Client, acme: Side) -> None:
    Connection.objects.all().delete()
    assert ask(client, acme, "acme-chat:chat:read").json() == {
        "decision": True,
        "reason": "approved",
        "context": {"reason": "approved"},
    }
    assert ask(client, acme, "acme-chat:chat:write").json()["context"]["require_approval"] is True


def test_where_no_connection_would_be_chosen_it_does_not_say_that_nobody_is_asked(client: Client, acme: Side) -> None:
    asking = make_connection(acme.platform, "t", label="Second", default=False)
    Connection.objects.filter(pk=asking.pk).update(require_approval=True)
    assert ask(client, acme, "acme-chat:chat:read").json()["context"]["require_approval"] is False  # the default
    Connection.objects.update(is_default=False)
    assert ask(client, acme, "acme-chat:chat:read").json()["context"] == {"reason": "approved"}
    assert ask(client, acme, "acme-chat:chat:write").json()["context"]["require_approval"] is True


def test_whatever_else_authzen_knows_is_not_looked_at(client: Client, acme: Side) -> None:
    more = {"context": {"timestamp": "now", "session_id": None, "args_fingerprint": "f"}, "options": []}
    changed = {"action": {"name": "echo"}, "resource": {"type": "tool", "id": "acme-chat:chat:read", "properties": {}}}
    assert ask(client, acme, "", **more, **changed).json()["decision"] is True
    assert ask(client, acme, "acme-chat:chat:read", action=None).json()["decision"] is True


def test_an_agent_asks_about_itself_alone(client: Client, acme: Side, stranger: Side) -> None:
    response = ask(client, acme, "acme-chat:chat:read", subject={"type": "agent", "id": stranger.agent.pk})
    assert (response.status_code, response.json()["reason"]) == (403, "subject_mismatch")
    assert ask(client, stranger, "acme-chat:chat:read").json()["decision"] is True
    Grant.objects.filter(agent=stranger.agent).delete()
    assert ask(client, stranger, "acme-chat:chat:read").json()["decision"] is False


MALFORMED: list[dict[str, Any]] = [
    {"subject": {"type": "agent", "id": ""}},
    {"subject": {"type": "agent"}},
    {"subject": {"type": "agent", "id": 5}},
    {"subject": {"type": "agent", "id": None}},
    {"subject": "agent"},
    {"subject": None},
    {"subject": []},
    {"resource": {"id": "acme-chat"}},
    {"resource": {"id": "acme-chat:"}},
    {"resource": {"id": ":chat:read"}},
    {"resource": {"id": ""}},
    {"resource": {"id": "a:" + "x" * 299}},
    {"resource": {"id": "acme-chat:chat\x00read"}},
    {"resource": {"id": ["acme-chat:chat:read"]}},
    {"resource": None},
    {"resource": "acme-chat:chat:read"},
]


@pytest.mark.parametrize("change", MALFORMED)
def test_a_question_that_is_none_is_refused(client: Client, acme: Side, change: dict[str, Any]) -> None:
    response = ask(client, acme, "acme-chat:chat:read", **change)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


def test_asking_changes_nothing_and_leaves_no_record(client: Client, acme: Side) -> None:
    ask(client, acme, "acme-chat:chat:read")
    ask(client, acme, "stripe:charge")
    assert not AuditEvent.objects.exists()
