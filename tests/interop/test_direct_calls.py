"""Calls that need nobody's approval, through the Python client of both kinds and the MCP server."""

import json

import pytest

from tests.interop.outcomes import KINDS, MESSAGE, call, error, value
from tests.interop.remote import Remote
from tests.interop.site import Site

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]

READ = {"platform": "acme-chat", "method": "GET", "scope": "chat:read"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("endpoint", "data"),
    [("/api/messages", MESSAGE), ("/list", [1, 2, 3]), ("/text", "plain words"), ("/empty", None)],
)
def test_a_direct_call_answers_at_once(
    site: Site, clients: dict[str, Remote], kind: str, endpoint: str, data: object
) -> None:
    envelope = value(call(clients[kind], kind, **READ, endpoint=endpoint).outcome)
    assert envelope["data"] == data
    assert len(envelope["_meta"]["audit_id"]) == 36
    used = envelope["_meta"]["connection"]
    assert (used["used"], used["label"], used["defaulted"]) == (site.connections["Main"], "Main", True)
    assert used["others"] == [{"connection_id": site.connections["Stale"], "label": "Stale"}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"endpoint": "/status/503"}, 503, {"status_was": 503}),
        ({"endpoint": "/status/429"}, 429, {"status_was": 429}),
        ({"endpoint": "/own"}, 403, {"error": "Permission denied", "reason": "agent_revoked"}),
        ({"endpoint": "/redirect"}, 502, {"code": "upstream_redirect"}),
        ({"platform": "broken", "scope": "broken:read"}, 502, {"error": "Upstream request failed"}),
        ({"connection": "Stale"}, 502, {"code": "reauth_failed"}),
        ({"scope": "chat:delete"}, 403, {"error": "Permission denied", "reason": "scope_not_granted"}),
        ({"platform": "nobody-has-it"}, 403, {"error": "Permission denied", "reason": "scope_not_granted"}),
        ({"method": "DELETE"}, 403, {"error": "Permission denied", "reason": "endpoint_scope_mismatch"}),
    ],
    ids=lambda part: next(iter(part.values())) if isinstance(part, dict) else None,
)
def test_what_goes_wrong_with_a_direct_call_is_told_apart(
    site: Site, clients: dict[str, Remote], kind: str, change: dict[str, str], status: int, said: dict[str, object]
) -> None:
    arguments = READ | {"endpoint": "/api/messages"} | change
    if label := arguments.pop("connection", ""):
        arguments["connection_id"] = site.connections[label]
    before = len(site.platform.requests)
    outcome = call(clients[kind], kind, **arguments).outcome
    if kind == "mcp":
        text = error(outcome).removeprefix(f"Proxy error {status}: ").partition("  You can call request_platform")[0]
    else:
        assert outcome["raised"] == ("AccessDeniedError" if status == 403 else "ProxyError")
        assert outcome["status"] == status
        text = outcome["body"]
    body = json.loads(text)
    assert said.items() <= body.items()
    from_platform = status not in {502} and "correlation_id" not in body
    assert body.get("_agentvalet", {}).get("upstream", False) is from_platform
    assert len(site.platform.requests) - before <= 1
