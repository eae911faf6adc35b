"""POST /v1/observe/actions: relayed with the agent's own credential, on record, and no way around a person."""

import json
import logging
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentStatus
from audit.models import AuditEvent
from platforms.models import Connection, ConnectionStatus, Grant, Platform
from tests.approvals.test_actions_api import events
from tests.platforms.test_children import child_of
from tests.world import CountingPlatform, Side, bearer, make_connection, new_token

CALL = {"platform": "acme-chat", "endpoint": "/api/messages?limit=2", "method": "GET", "action": "list messages"}


def observe(client: Client, side: Side, body: Any, credential: str | None) -> Any:
    headers = bearer(side.agent) | ({} if credential is None else {"X-AV-Observe-Credential": credential})
    content = body if isinstance(body, bytes) else json.dumps(body)
    return client.post("/v1/observe/actions", content, content_type="application/json", headers=headers)


def test_a_call_is_relayed_with_the_agents_own_credential(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    response = observe(client, acme, CALL, platform.token)
    assert (response.status_code, response.content) == (200, b'{"id":7,"ok":true}')
    (sent,) = platform.requests
    assert sent["headers"]["Authorization"] == f"Bearer {platform.token}"
    assert (sent["method"], sent["path"], sent["body"]) == ("GET", "/api/messages?limit=2", "")
    assert events(acme) == [("action.sending", ""), ("action.observed", "")]
    event = AuditEvent.objects.filter(event="action.observed").get()
    assert (event.platform, event.action, event.result) == ("acme-chat", "list messages", "allowed")
    assert Connection.objects.get().status == ConnectionStatus.UNTESTED  # it says nothing about the stored credential


def test_the_body_travels_as_it_is(client: Client, acme: Side, platform: CountingPlatform) -> None:
    Grant.objects.update(require_approval=False)
    call = CALL | {"method": "post", "endpoint": "/api/messages", "body": {"b": [1, None], "a": "é"}}
    assert observe(client, acme, call, platform.token).status_code == 200
    assert platform.requests[0]["body"] == '{"b":[1,null],"a":"é"}'


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"type": "header", "name": "X-Key"}, "X-Key", "{}"),
        ({"type": "basic"}, "Authorization", "Basic {}"),
    ],
)
def test_the_credential_is_placed_as_the_platform_wants_it(
    client: Client, acme: Side, platform: CountingPlatform, auth: dict[str, str], name: str, value: str
) -> None:
    Platform.objects.update(auth=auth)
    observe(client, acme, CALL, "user:own-secret-0123456789")
    shown = "user:own-secret-0123456789"
    if auth["type"] == "basic":
        shown = b64encode(shown.encode()).decode()
    assert platform.requests[0]["headers"][name] == value.format(shown)


def test_the_credential_is_neither_stored_nor_logged_nor_answered(
    client: Client, acme: Side, platform: CountingPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = new_token()
    answers = [
        observe(client, acme, CALL | change, secret) for change in ({}, {"endpoint": "/a/../b"}, {"platform": "x"})
    ]
    assert len(platform.requests) == 1
    rows = "".join(AuditEvent.objects.values_list("canonical", flat=True))
    assert secret not in rows + caplog.text + "".join(answer.content.decode() for answer in answers)


@pytest.mark.parametrize(
    ("endpoint", "status", "data"),
    [
        ("/list", 200, [1, 2, 3]),
        ("/text", 200, "plain words"),
        ("/empty", 200, None),
    ],
)
def test_what_is_no_json_object_is_wrapped_for_mcp_hosts(
    client: Client, acme: Side, platform: CountingPlatform, endpoint: str, status: int, data: object
) -> None:
    response = observe(client, acme, CALL | {"endpoint": endpoint}, platform.token)
    assert (response.status_code, response.json()["data"]) == (status, data)
    assert response.json()["_meta"]["audit_id"]


@pytest.mark.parametrize("status", [201, 202, 400, 404, 409, 429, 500, 503])
def test_the_platforms_status_passes_through(
    client: Client, acme: Side, platform: CountingPlatform, status: int
) -> None:
    response = observe(client, acme, CALL | {"endpoint": f"/status/{status}"}, platform.token)
    assert (response.status_code, response.json()["status_was"]) == (status, status)


@pytest.mark.parametrize(
    ("endpoint", "status", "code"),
    [
        ("/status/401", 502, "reauth_failed"),  # a client would sign anew and send the call again
        ("/redirect", 502, "upstream_redirect"),
        ("/cut", 502, "connection_lost"),
        ("/slow/5", 504, "upstream_timeout"),
    ],
)
def test_what_a_client_would_misread_is_a_failure_of_ours(
    client: Client, acme: Side, platform: CountingPlatform, settings: Settings, endpoint: str, status: int, code: str
) -> None:
    settings.DIRECT_TIMEOUT = 0.5
    response = observe(client, acme, CALL | {"endpoint": endpoint}, platform.token)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert len(platform.requests) == 1


# (what is changed about a good call, status, reason or code)
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("covered by a scope that asks", {"method": "POST", "endpoint": "/api/messages"}, 403, "approval_required"),
    ("another such call", {"method": "DELETE", "endpoint": "/api/messages/5"}, 403, "approval_required"),
    ("whatever it calls itself", {"method": "POST", "action": "chat:read"}, 403, "approval_required"),
    ("unknown platform", {"platform": "nope"}, 403, "scope_not_granted"),
    ("absolute URL", {"endpoint": "http://169.254.169.254/"}, 400, "endpoint_refused"),
    ("climbing path", {"endpoint": "/a/%2e%2e/b"}, 400, "endpoint_refused"),
    ("a secret of ours", {"body": {"text": "bsec_" + "aB3_" * 10 + "xyz"}}, 403, "secret_in_request"),
    ("no endpoint", {"endpoint": None}, 400, "invalid_request"),
    ("action too long", {"action": "x" * 129}, 400, "invalid_request"),
    ("platform too long", {"platform": "x" * 64}, 400, "invalid_request"),
    ("unknown method", {"method": "TRACE"}, 400, "invalid_request"),
    ("number as endpoint", {"endpoint": 5}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("change", "status", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_call_that_may_not_be_relayed_is_refused_and_on_record(
    client: Client, acme: Side, platform: CountingPlatform, change: dict[str, Any], status: int, word: str
) -> None:
    response = observe(client, acme, CALL | change, platform.token)
    body = response.json()
    assert response.status_code == status
    assert word in {body.get("reason"), body.get("code")}
    assert [event for event, _ in events(acme)] == ["action.denied"]
    assert platform.requests == []


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        (None, "invalid_request"),
        ("", "invalid_request"),
        ("two words", "credential_refused"),
        ("x" * (16 * 1024 + 1), "credential_refused"),
        ("caf\xe9", "credential_refused"),
    ],
)
def test_a_credential_that_cannot_be_carried_is_refused(
    client: Client, acme: Side, platform: CountingPlatform, credential: str | None, code: str
) -> None:
    response = observe(client, acme, CALL, credential)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert platform.requests == []


def test_a_connection_that_asks_for_every_call_lets_no_covered_one_be_relayed(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    Connection.objects.update(require_approval=True)
    response = observe(client, acme, CALL, platform.token)
    body = response.json()
    assert (response.status_code, body["reason"]) == (403, "denied_by_policy")
    assert body["policy_id"] == f"grant:{acme.grants['chat:read'].pk}"
    assert platform.requests == []


def test_a_child_is_no_way_around_what_its_parent_has_to_ask_for(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    _, headers = child_of(client, acme, grants=[{"platform": "acme-chat", "scopes": ["chat:read"]}])
    write = CALL | {"method": "POST", "endpoint": "/api/messages", "body": {"text": "hello"}}
    headers |= {"X-AV-Observe-Credential": platform.token}
    response = client.post("/v1/observe/actions", write, content_type="application/json", headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "approval_required")
    assert platform.requests == []
    read = client.post("/v1/observe/actions", CALL, content_type="application/json", headers=headers)
    assert read.status_code == 200


def test_a_call_outside_the_agents_scopes_is_relayed_for_the_record(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    assert observe(client, acme, CALL | {"method": "PUT", "endpoint": "/api/x"}, platform.token).status_code == 200
    assert events(acme)[-1] == ("action.observed", "")


def test_without_any_current_grant_nothing_is_relayed(client: Client, acme: Side, platform: CountingPlatform) -> None:
    now = timezone.now()
    Grant.objects.filter(pk=acme.grants["chat:read"].pk).update(revoked_at=now)
    Grant.objects.filter(pk=acme.grants["chat:write"].pk).update(expires_at=now - timedelta(seconds=1))
    response = observe(client, acme, CALL, platform.token)
    assert (response.status_code, response.json()["reason"]) == (403, "scope_not_granted")
    assert response.json()["access_request_hint"]["platform"] == "acme-chat"


def test_a_grant_that_is_over_does_not_matter_beside_one_that_counts(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    now = timezone.now()
    Grant.objects.filter(pk=acme.grants["chat:write"].pk).update(expires_at=now - timedelta(seconds=1))
    assert observe(client, acme, CALL | {"method": "POST"}, platform.token).status_code == 200


def test_without_a_connection_nothing_is_relayed(client: Client, acme: Side, platform: CountingPlatform) -> None:
    acme.connection.delete()
    for method in ("GET", "PUT"):  # covered by a scope, and not
        assert observe(client, acme, CALL | {"method": method}, platform.token).status_code == 412
    assert platform.requests == []


def test_several_connections_without_a_default_are_no_way_around_one_that_asks(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    make_connection(acme.platform, new_token(), label="Other", default=False)
    Connection.objects.update(is_default=False, require_approval=True)
    assert observe(client, acme, CALL, platform.token).status_code == 412
    assert platform.requests == []


def test_a_stranger_relays_to_its_own_platform_only(
    client: Client, acme: Side, stranger: Side, platform: CountingPlatform
) -> None:
    Platform.objects.filter(pk=acme.platform.pk).update(slug="acme-only")
    response = observe(client, stranger, CALL | {"platform": "acme-only"}, platform.token)
    assert (response.status_code, response.json()["reason"]) == (403, "scope_not_granted")
    assert events(acme) == []


@pytest.mark.parametrize("status", [AgentStatus.SUSPENDED, AgentStatus.REVOKED])
def test_an_agent_that_is_not_active_relays_nothing(
    client: Client, acme: Side, platform: CountingPlatform, status: AgentStatus
) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=status)
    response = observe(client, acme, CALL, platform.token)
    assert (response.status_code, response.json()["reason"]) == (403, f"agent_{status}")
    assert platform.requests == []
