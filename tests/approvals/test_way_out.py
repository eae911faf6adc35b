"""The way out, seen from an agent: what leaves and what comes back, over POST /v1/actions and after an approval."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from tests.approvals.test_actions_api import READ, WRITE, post
from tests.approvals.test_decisions import approve
from tests.approvals.test_observe import CALL, observe
from tests.platforms.hostile_endpoints import REFUSED_ENDPOINTS
from tests.platforms.wire_server import WireServer, always, wire_server
from tests.world import CountingPlatform, Side, make_side, submit

# What an agent might hope to get through: to the platform, to a proxy in front of it, or past the platform's own checks.
SMUGGLED = {
    "Cookie": "session=stolen",
    "X-Forwarded-For": "127.0.0.1",
    "X-Original-URL": "/admin",
    "X-Http-Method-Override": "DELETE",
    "X-Api-Key": "mine",
    "Proxy-Authorization": "Basic eDp5",
    "Forwarded": "for=127.0.0.1",
    "Range": "bytes=0-1",
    "If-None-Match": "*",
    "Accept-Encoding": "gzip",
    "Origin": "https://evil.example",
    "Idempotency-Key": "the-agents-own",
}
# What a platform might hope to get through to an agent, or to a browser behind it.
PLATFORMS_OWN = [
    b"Set-Cookie: sessionid=evil",
    b"Location: https://evil.example/",
    b"WWW-Authenticate: Basic realm=x",
    b"Access-Control-Allow-Origin: *",
    b"Content-Security-Policy: default-src *",
    b"Content-Disposition: attachment",
    b"Content-Encoding: gzip",
    b"Refresh: 0; url=https://evil.example/",
    b"Server: evil",
    b"Strict-Transport-Security: max-age=0",
    b"Clear-Site-Data: *",
    b"X-Request-Id: theirs",
    b"X-Internal: secret",
]


@pytest.fixture
def elsewhere() -> Iterator[WireServer]:
    with wire_server(always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as server:
        yield server


def side_of(server: WireServer, settings: Settings) -> Side:
    settings.PRIVATE_TARGETS = ["127.0.0.0/8"]
    return make_side("Acme", base_url=server.url, token="tok-of-the-platform")


@pytest.mark.parametrize(("endpoint", "why"), REFUSED_ENDPOINTS, ids=[why for _, why in REFUSED_ENDPOINTS])
def test_a_hostile_endpoint_reaches_nobody_whether_it_would_be_asked_or_not(
    client: Client, acme: Side, platform: CountingPlatform, endpoint: str, why: str
) -> None:
    for call in (READ, WRITE):
        response = post(client, acme, call | {"endpoint": endpoint})
        assert response.status_code == 400
        assert response.json()["code"] in {"endpoint_refused", "invalid_request", "invalid_json"}
    assert AuditEvent.objects.filter(event="action.denied").count() == AuditEvent.objects.count() == 2
    assert platform.requests == []
    assert not ApprovalRequest.objects.exists()


def test_no_header_of_an_agent_leaves_with_a_direct_call(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    assert post(client, acme, READ, **SMUGGLED).status_code == 200
    (sent,) = platform.requests
    assert sent["headers"].keys() == {"Host", "User-Agent", "Accept", "Authorization"}
    assert sent["headers"]["Authorization"] == f"Bearer {platform.token}"


def test_no_header_of_an_agent_leaves_with_an_approved_call(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    assert post(client, acme, WRITE, **SMUGGLED).status_code == 202
    approval = approve(acme, ApprovalRequest.objects.get())
    execute(approval_id=approval.pk, now=timezone.now())
    (sent,) = platform.requests
    ours = {"Host", "User-Agent", "Accept", "Authorization", "Content-Type", "Content-Length", "Idempotency-Key"}
    assert sent["headers"].keys() == ours
    assert sent["headers"]["Idempotency-Key"] == str(approval.pk)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_no_header_of_a_platform_reaches_an_agent_unless_it_is_listed(
    client: Client, db: None, settings: Settings, status: int
) -> None:
    head = b"\r\n".join([b"HTTP/1.1 %d X" % status, *PLATFORMS_OWN, b"Retry-After: 7", b"Content-Length: 2"])
    with wire_server(always(head + b"\r\n\r\n{}")) as server:
        side = side_of(server, settings)
        answers = [post(client, side, READ), observe(client, side, CALL, "tok-of-the-agent")]
    for answer in answers:
        assert answer.status_code == status
        text = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        for word in (
            "evil",
            "theirs",
            "secret",
            "Basic",
            "attachment",
            "gzip",
            "max-age=0",
            "Allow-Origin",
            "Clear-Site",
        ):
            assert word not in text
        assert not answer.cookies
        assert answer.get("Retry-After") == (None if status == 200 else "7")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
def test_no_redirect_is_followed_or_passed_on(
    client: Client, db: None, settings: Settings, elsewhere: WireServer, status: int
) -> None:
    moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n".encode()
    with wire_server(always(moved)) as server:
        side = side_of(server, settings)
        response: Any = post(client, side, READ)
        approval = approve(side, submit(side))
        execute(approval_id=approval.pk, now=timezone.now())
    assert (response.status_code, response.json()["code"]) == (502, "upstream_redirect")
    approval.refresh_from_db()
    assert json.loads(approval.result_json or "")["status"] == status
    assert elsewhere.url not in response.content.decode() + (approval.result_json or "")
    assert (len(server.received), elsewhere.connections) == (2, 0)
