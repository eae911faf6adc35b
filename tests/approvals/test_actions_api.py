"""POST /v1/actions through HTTP: what goes through, what waits, what is refused, and what is on record of it."""

import json
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.enrolment import invite
from agents.models import Agent, AgentStatus
from approvals.binding import read_form
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.models import Connection, ConnectionStatus
from tests.world import CountingPlatform, Side, bearer, change_platform, public_key

READ = {"platform": "acme-chat", "endpoint": "/api/messages?limit=2", "method": "GET", "scope": "chat:read"}
WRITE = {
    "platform": "acme-chat",
    "endpoint": "/api/messages",
    "method": "POST",
    "scope": "chat:write",
    "data": {"text": "hello", "channel": "general"},
}


def post(client: Client, side: Side, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post("/v1/actions", content, content_type="application/json", headers=bearer(side.agent) | headers)


def events(side: Side) -> list[tuple[str, str]]:
    rows = AuditEvent.objects.filter(owner_id=side.owner.pk).order_by("seq")
    return [(row.event, row.reason) for row in rows]


def test_a_granted_read_is_forwarded_with_the_stored_credential(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    response = post(client, acme, READ)
    assert response.status_code == 200
    body = response.json()
    assert body["data"] == {"id": 7, "ok": True}
    assert body["_meta"]["capability"] == "agent.action"
    assert body["_meta"]["upstream_status"] == 200
    assert len(body["_meta"]["audit_id"]) == 36
    (sent,) = platform.requests
    assert (sent["method"], sent["path"]) == ("GET", "/api/messages?limit=2")
    assert sent["headers"]["Authorization"] == f"Bearer {platform.token}"
    assert events(acme) == [("action.sending", ""), ("action.allowed", "")]


def test_the_bytes_of_the_platforms_answer_are_kept(client: Client, acme: Side) -> None:
    response = post(client, acme, READ | {"endpoint": "/exact"})
    assert b'"data":{"big":12345678901234567890.10, "b":1, "a":"\\u00e9"}' in response.content


@pytest.mark.parametrize(
    ("endpoint", "data"),
    [("/text", "plain words"), ("/empty", None), ("/list", [1, 2, 3]), ("/status/202", {"status_was": 202})],
)
def test_every_success_answers_200_with_the_envelope(client: Client, acme: Side, endpoint: str, data: object) -> None:
    response = post(client, acme, READ | {"endpoint": endpoint})
    assert response.status_code == 200
    assert response.json()["data"] == data


@pytest.mark.parametrize("status", [400, 404, 409, 418, 429, 500, 503])
def test_a_platforms_error_passes_through_and_is_marked_as_the_platforms(
    client: Client, acme: Side, status: int
) -> None:
    response = post(client, acme, READ | {"endpoint": f"/status/{status}"})
    assert response.status_code == status
    assert response.json()["status_was"] == status
    assert response.json()["_agentvalet"]["upstream"] is True
    assert response["Retry-After"] == "7"


def test_a_platform_cannot_pass_its_refusal_off_as_ours(client: Client, acme: Side) -> None:
    response = post(client, acme, READ | {"endpoint": "/own"})
    assert response.status_code == 403
    assert response.json()["_agentvalet"]["upstream"] is True


def test_a_platform_that_repeats_the_credential_does_not_hand_it_to_the_agent(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    response = post(client, acme, READ | {"endpoint": "/echo"})
    assert platform.token not in response.content.decode()
    assert response.json()["data"]["headers"]["Authorization"] == "Bearer [credential removed]"


def test_markup_of_a_platform_is_never_served_as_a_page(client: Client, acme: Side) -> None:
    response = post(client, acme, READ | {"endpoint": "/html"})
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_401_of_the_platform_is_a_502_and_marks_the_connection(client: Client, acme: Side) -> None:
    response = post(client, acme, READ | {"endpoint": "/status/401"})
    assert response.status_code == 502
    assert response.json()["code"] == "reauth_failed"
    assert Connection.objects.get(pk=acme.connection.pk).status == ConnectionStatus.REAUTH_NEEDED


def test_a_redirect_is_not_passed_on(client: Client, acme: Side, platform: CountingPlatform) -> None:
    response = post(client, acme, READ | {"endpoint": "/redirect"})
    assert (response.status_code, response.json()["code"]) == (502, "upstream_redirect")
    assert [request["path"] for request in platform.requests] == ["/redirect"]


def test_a_slow_platform_is_cut_off_with_504(client: Client, acme: Side, settings: Settings) -> None:
    settings.DIRECT_TIMEOUT = 0.3
    response = post(client, acme, READ | {"endpoint": "/slow/5"})
    assert (response.status_code, response.json()["code"]) == (504, "upstream_timeout")
    assert events(acme)[-1] == ("action.failed", "upstream_timeout")


def test_a_body_cut_short_is_a_502(client: Client, acme: Side) -> None:
    response = post(client, acme, READ | {"endpoint": "/cut"})
    assert (response.status_code, response.json()["code"]) == (502, "connection_lost")


def test_a_scope_that_asks_waits_and_sends_nothing(client: Client, acme: Side, platform: CountingPlatform) -> None:
    response = post(client, acme, WRITE | {"reason": "to say\nhello " + "x" * 600})
    assert response.status_code == 202
    body = response.json()
    assert body["status"] == "pending_approval"
    assert body["message"] == "Owner approval required"
    approval = ApprovalRequest.objects.get(pk=body["approval_id"])
    assert (approval.expires_at - approval.created_at).total_seconds() == 600
    assert approval.reason.startswith("to say hello xxx")
    assert len(approval.reason) == 500
    assert platform.requests == []
    assert events(acme) == [("approval.requested", "")]


def test_numbers_stay_as_the_agent_wrote_them_and_strings_are_spelled_plainly(client: Client, acme: Side) -> None:
    raw = json.dumps({key: value for key, value in WRITE.items() if key != "data"})
    data = '{ "amount" : 1.50, "rate":0.12345678901234567890, "e": 1E2,\n"t": "\\u0064elete \\"x\\" \\n ä" }'
    approval = ApprovalRequest.objects.get(pk=post(client, acme, f'{raw[:-1]}, "data": {data}}}').json()["approval_id"])
    body = read_form(bytes(approval.form)).body
    assert body == '{"amount":1.50,"rate":0.12345678901234567890,"e":1E2,"t":"delete \\"x\\" \\n ä"}'


def test_a_connection_that_asks_makes_every_call_wait(client: Client, acme: Side) -> None:
    Connection.objects.update(require_approval=True)
    assert post(client, acme, READ).status_code == 202


def test_the_same_pending_call_returns_the_same_approval(client: Client, acme: Side) -> None:
    first, again = post(client, acme, WRITE).json(), post(client, acme, WRITE).json()
    other = post(client, acme, WRITE | {"data": {"text": "bye"}}).json()
    assert first["approval_id"] == again["approval_id"] != other["approval_id"]
    assert ApprovalRequest.objects.count() == 2


def test_no_data_and_null_data_are_not_the_same(client: Client, acme: Side) -> None:
    without = {key: value for key, value in WRITE.items() if key != "data"}
    first, second = post(client, acme, without).json(), post(client, acme, WRITE | {"data": None}).json()
    assert first["approval_id"] != second["approval_id"]


# (what is changed about a good call, status, reason or code)
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown platform", {"platform": "nope"}, 403, "scope_not_granted"),
    ("unknown scope", {"scope": "chat:admin"}, 403, "scope_not_granted"),
    (
        "path outside the scope",
        {"scope": "chat:write", "method": "DELETE", "endpoint": "/api/users/1"},
        403,
        "endpoint_scope_mismatch",
    ),
    ("method outside the scope", {"method": "POST"}, 403, "endpoint_scope_mismatch"),
    ("absolute URL", {"endpoint": "http://169.254.169.254/latest"}, 400, "endpoint_refused"),
    ("climbing path", {"endpoint": "/api/../admin"}, 400, "endpoint_refused"),
    ("other connection", {"connection_id": "5f0c1b6e-0000-4000-8000-000000000000"}, 412, "no_credential"),
    ("no platform", {"platform": None}, 400, "invalid_request"),
    ("number as platform", {"platform": 5}, 400, "invalid_request"),
    ("list as scope", {"scope": ["chat:read"]}, 400, "invalid_request"),
    ("object as endpoint", {"endpoint": {}}, 400, "invalid_request"),
    ("unknown method", {"method": "TRACE"}, 400, "invalid_request"),
    ("bad connection id", {"connection_id": "main"}, 400, "invalid_request"),
    ("NUL in scope", {"scope": "chat\x00read"}, 400, "invalid_request"),
    ("platform too long", {"platform": "x" * 64}, 400, "invalid_request"),
    ("endpoint too long", {"endpoint": "/" + "x" * 8192}, 400, "invalid_request"),
    ("number as reason", {"reason": 1}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("change", "status", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_call_that_is_not_covered_is_refused_and_on_record(
    client: Client, acme: Side, platform: CountingPlatform, change: dict[str, Any], status: int, word: str
) -> None:
    response = post(client, acme, READ | change)
    body = response.json()
    assert response.status_code == status
    assert word in {body.get("reason"), body.get("code")}
    assert body["error"]
    assert body["correlation_id"] == response["X-Request-Id"] == str(AuditEvent.objects.get().request_id)
    assert body["report_hint"]["correlation_id"] == body["correlation_id"]
    assert ("access_request_hint" in body) == (word == "scope_not_granted"), "asking helps with nothing else"
    assert events(acme) == [("action.denied", word)]
    assert platform.requests == []


RAW_BODIES: list[tuple[str, bytes, int]] = [
    ("empty", b"", 400),
    ("not JSON", b"{", 400),
    ("an array", b"[]", 400),
    ("a string", b'"x"', 400),
    ("null", b"null", 400),
    ("not UTF-8", b'{"platform":"\xff"}', 400),
    ("a key twice", b'{"platform":"a","platform":"b"}', 400),
    ("NaN", b'{"platform":"a","data":NaN}', 400),
    ("infinite", b'{"platform":"a","data":1e999}', 400),
    ("half a surrogate pair", b'{"platform":"a","data":"\\ud800"}', 400),
    ("too deep", b'{"data":' + b"[" * 101 + b"]" * 101 + b"}", 400),
    ("far too deep", b"[" * 500_000, 400),
    ("a number of a million digits", b'{"data":' + b"9" * 900_000 + b"}", 400),
    ("too large", b" " * (1024 * 1024 + 1), 413),
]


@pytest.mark.parametrize(("raw", "status"), [row[1:] for row in RAW_BODIES], ids=[row[0] for row in RAW_BODIES])
def test_a_body_that_is_no_request_is_refused_in_one_sentence(
    client: Client, acme: Side, raw: bytes, status: int
) -> None:
    response = post(client, acme, raw)
    assert response.status_code == status
    assert response.json()["error"].endswith((".", "object", ")")) or response.json()["error"]
    assert "Traceback" not in response.content.decode()
    assert events(acme) == [("action.denied", "invalid_request")]


def test_a_body_of_another_kind_is_refused_and_on_record(client: Client, acme: Side) -> None:
    response = client.post("/v1/actions", "a=b", content_type="text/plain", headers=bearer(acme.agent))
    assert response.status_code == 415
    assert events(acme) == [("action.denied", "invalid_request")]


def test_the_size_limit_is_the_operators(client: Client, acme: Side, settings: Settings) -> None:
    settings.MAX_REQUEST_BYTES = 200
    assert post(client, acme, WRITE | {"data": {"text": "x" * 300}}).status_code == 413


def test_a_call_without_a_connection_is_412(client: Client, acme: Side) -> None:
    acme.connection.delete()
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["error"]) == (412, "platform_not_connected")


def test_a_credential_that_does_not_open_is_a_502_without_secrets(client: Client, acme: Side) -> None:
    Connection.objects.update(credential_ciphertext=b"\0" * 60)
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (502, "credential_unavailable")
    assert events(acme)[-1] == ("action.failed", "credential_unavailable")


def test_an_endpoint_that_sets_the_credentials_own_parameter_is_not_sent(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    change_platform(acme.platform, auth={"type": "query", "name": "api_key"})
    response = post(client, acme, READ | {"endpoint": "/api/messages?api_key=mine"})
    assert (response.status_code, response.json()["code"]) == (502, "request_refused")
    assert events(acme)[-1] == ("action.failed", "request_refused")
    assert platform.requests == []


@pytest.mark.parametrize("status", [AgentStatus.SUSPENDED, AgentStatus.REVOKED, AgentStatus.PENDING])
def test_an_agent_that_is_not_active_is_turned_away_on_the_next_call(
    client: Client, acme: Side, platform: CountingPlatform, status: AgentStatus
) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=status)
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["reason"]) == (403, f"agent_{status}")
    assert events(acme) == [("action.denied", f"agent_{status}")]
    assert platform.requests == []


def test_a_revoked_grant_counts_on_the_next_call(client: Client, acme: Side) -> None:
    grant = acme.grants["chat:read"]
    grant.revoked_at = timezone.now()
    grant.save()
    assert post(client, acme, READ).json()["reason"] == "scope_not_granted"


def test_the_grants_of_another_owner_are_of_no_use(
    client: Client, acme: Side, stranger: Side, platform: CountingPlatform
) -> None:
    response = post(client, stranger, READ | {"connection_id": str(acme.connection.pk)})
    assert response.status_code == 412
    assert platform.requests == []


def test_a_session_id_is_on_record(client: Client, acme: Side) -> None:
    post(client, acme, READ, **{"X-AV-Session": "run:2026-08-21:abcd"})
    assert AuditEvent.objects.last().session_id == "run:2026-08-21:abcd"  # type: ignore[union-attr]


def test_an_invite_binds_a_key_once(client: Client, acme: Side) -> None:
    with transaction.atomic():
        secret = invite(agent=acme.agent, now=timezone.now())
    body = {"bind_secret": secret, "public_key_pem": public_key("fresh")}
    first = client.post("/v1/invites/bind", body, content_type="application/json")
    assert first.status_code == 200
    assert first.json()["agent_id"] == acme.agent.pk
    assert first.json()["proxy_url"] == "http://localhost:8080"
    assert client.post("/v1/invites/bind", body, content_type="application/json").status_code == 410
    assert post(client, acme, READ).status_code == 401  # the earlier key is retired
    headers = bearer(acme.agent, key="fresh")
    assert client.post("/v1/actions", READ, content_type="application/json", headers=headers).status_code == 200
