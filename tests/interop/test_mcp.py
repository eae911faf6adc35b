"""The MCP server of npm under a host that holds its results against its schemas: every tool, and how it boots."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.owner import Owner
from tests.interop.remote import Line, Remote
from tests.interop.site import Site
from tests.world import public_key

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]

TOOLS = {
    *("list_platforms", "use_platform", "read_platform", "write_platform", "delete_platform", "agent_register"),
    *("agent_status", "authzen_evaluate", "list_my_pending_actions", "report_self_diagnostic"),
    *("request_platform_access", "issue_child_agent"),
}


@pytest.fixture(scope="module", autouse=True)
def watched(site: Site, owner: Owner) -> Iterator[Remote]:
    """A session whose permissions were edited while it watches, as often as it may (every 10 s)."""
    remote = site.mcp_server("watched", AV_PERMISSIONS_POLL_MS="1")
    remote.order("call", name="list_platforms", arguments={}).outcome  # noqa: B018 - once it is there
    owner.ask_for_approval(site.ids["watched"], "chat:read")
    yield remote
    remote.close()


def use(remote: Remote, tool: str, **arguments: Any) -> Any:
    """What the tool returned, as a structure; the host refuses what does not fit the tool's schema."""
    outcome = remote.order("call", name=tool, arguments=arguments).outcome
    assert "returned" in outcome, outcome
    assert not outcome["returned"].get("isError"), outcome
    return outcome["returned"]["structuredContent"]


def refusal(outcome: Line) -> str:
    assert outcome["returned"]["isError"], outcome
    return str(outcome["returned"]["content"][0]["text"])


def stamped_version(remote: Remote) -> str:
    tools = {tool["name"]: tool for tool in remote.order("tools").outcome["returned"]}
    return str(tools["list_platforms"]["description"]).partition("Current permissions version: ")[2].partition(".")[0]


def test_it_offers_its_tools(mcp: Remote) -> None:
    assert {tool["name"] for tool in mcp.order("tools").outcome["returned"]} == TOOLS


def test_it_lists_what_the_agent_may_do(site: Site, mcp: Remote) -> None:
    listed = use(mcp, "list_platforms")
    acme, broken = listed["platforms"]
    assert (acme["platformId"], acme["platformName"]) == ("acme-chat", "Acme Chat")
    assert acme["scopes"] == ["chat:read", "chat:write"]
    assert acme["requireApproval"] is False
    assert acme["approvalScopes"] == ["chat:write"]
    assert {entry["connection_id"] for entry in acme["connections"]} == set(site.connections.values())
    assert broken["platformId"] == "broken"
    assert stamped_version(mcp) == listed["version"]


def test_it_reads_writes_and_may_not_delete(site: Site, owner: Owner, mcp: Remote) -> None:
    assert use(mcp, "read_platform", platform="acme-chat", endpoint="/list", scope="chat:read")["data"] == [1, 2, 3]
    message = {
        "platform": "acme-chat",
        "endpoint": "/api/messages",
        "scope": "chat:write",
        "body": {"text": "from a host"},
    }
    written = mcp.order("call", name="write_platform", arguments=message)
    owner.approve("from a host")
    assert written.outcome["returned"]["structuredContent"]["data"] == {"id": 7, "ok": True}
    (sent,) = [request for request in site.platform.requests if "from a host" in request["body"]]
    assert (sent["method"], sent["path"]) == ("POST", "/api/messages")
    gone = mcp.order(
        "call",
        name="delete_platform",
        arguments={"platform": "acme-chat", "endpoint": "/api/messages/1", "scope": "chat:delete"},
    )
    said = refusal(gone.outcome)
    assert "scope_not_granted" in said
    assert "You can call request_platform_access" in said


def test_it_takes_one_connection_or_the_other(site: Site, mcp: Remote) -> None:
    arguments = {"platform": "acme-chat", "endpoint": "/api/messages", "scope": "chat:read"}
    assert "connection" not in use(mcp, "read_platform", **arguments, connection_id=site.connections["Main"])["_meta"]
    stale = mcp.order("call", name="read_platform", arguments=arguments | {"connection_id": site.connections["Stale"]})
    assert json.loads(refusal(stale.outcome).partition(": ")[2])["code"] == "reauth_failed"


@pytest.mark.parametrize(
    ("platform", "scope", "decision", "reason"),
    [
        ("acme-chat", "chat:read", True, "approved"),
        ("acme-chat", "chat:delete", False, "scope_not_granted"),
        ("stripe", "stripe:charge", False, "scope_not_granted"),
    ],
)
def test_it_asks_beforehand(mcp: Remote, platform: str, scope: str, decision: bool, reason: str) -> None:
    answer = use(mcp, "authzen_evaluate", platform_id=platform, scope=scope)
    assert (answer["decision"], answer["reason"], answer["context"]["reason"]) == (decision, reason, reason)


def test_it_lists_what_waits_and_what_came_of_the_rest(site: Site, mcp: Remote) -> None:
    site.request("POST", "/v1/actions", agent="mcp", body=WAITING)
    listed = use(mcp, "list_my_pending_actions")
    assert ("acme-chat", "chat:write") in {(item["platform_id"], item["scope"]) for item in listed["pending"]}
    assert isinstance(listed["recently_completed"], list)


WAITING = {
    "platform": "acme-chat",
    "endpoint": "/api/messages",
    "method": "POST",
    "scope": "chat:write",
    "data": {"text": "left behind"},
}


def test_it_reports_what_went_wrong(mcp: Remote) -> None:
    failed = mcp.order(
        "call",
        name="read_platform",
        arguments={"platform": "broken", "endpoint": "/", "scope": "broken:read"},
    )
    hint = json.loads(refusal(failed.outcome).partition(": ")[2])["report_hint"]
    answer = use(
        mcp,
        "report_self_diagnostic",
        severity="error",
        message=hint["narrative_template"].format(action="read", error="502"),
        correlation_id=hint["correlation_id"],
        context={"tries": 2},
    )
    assert answer["id"]
    assert answer["received_at"]


@pytest.mark.parametrize(("scope", "yes"), [("chat:delete", True), ("chat:archive", False)])
def test_it_asks_for_access_and_hears_the_answer(site: Site, owner: Owner, mcp: Remote, scope: str, yes: bool) -> None:
    asked = mcp.order(
        "call",
        name="request_platform_access",
        arguments={"platform": "acme-chat", "scope": scope, "reason": "To tidy up"},
    )
    owner.answer_access(words=scope, yes=yes)
    returned = asked.outcome["returned"]
    assert not returned.get("isError"), returned
    assert returned["structuredContent"]["status"] == ("approved" if yes else "denied")
    if yes:
        read = mcp.order(
            "call",
            name="delete_platform",
            arguments={"platform": "acme-chat", "endpoint": "/api/messages/1", "scope": scope},
        )
        assert read.outcome["returned"]["structuredContent"]["data"] == {"id": 7, "ok": True}


def test_it_issues_a_child(site: Site, mcp: Remote) -> None:
    wish = {"grants": [{"platform": "acme-chat", "scopes": ["chat:read", "chat:unknown"]}], "ttl_seconds": 60}
    outcome = mcp.order("call", name="issue_child_agent", arguments=wish | {"name": "helper"}).outcome
    child = json.loads(outcome["returned"]["content"][0]["text"])
    assert child["granted"] == [{"platform": "acme-chat", "scopes": ["chat:read"]}]
    assert child["bearer_token"].count(".") == 2
    nothing = {"grants": [{"platform": "acme-chat", "scopes": ["chat:unknown"]}]}
    assert "no_scopes_after_attenuation" in refusal(
        mcp.order("call", name="issue_child_agent", arguments=nothing).outcome
    )


@pytest.mark.parametrize("yes", [True, False])
def test_an_agent_without_identity_registers_and_learns_the_answer(
    site: Site, owner: Owner, mcp: Remote, yes: bool
) -> None:
    name = f"newcomer {yes}"
    made = use(
        mcp,
        "agent_register",
        owner_id=site.owner_id,
        agent_name=name,
        requested_scopes=[{"platformId": "acme-chat", "scopes": ["chat:read"]}],
    )
    assert use(mcp, "agent_status", token=made["registration_token"]) == {"status": "pending_approval"}
    if not yes:
        owner.turn_away(name)
        assert use(mcp, "agent_status", token=made["registration_token"])["status"] == "rejected"
        return
    agent = owner.admit(name, "acme-chat:chat:read")
    status = use(mcp, "agent_status", token=made["registration_token"])
    assert (status["status"], status["agent_id"]) == ("approved", agent)
    assert status["mcp_config"]["env"]["PROXY_URL"] == site.url


def test_a_changed_grant_reaches_a_running_host(watched: Remote) -> None:
    watched.event("list_changed", patience=15)
    version = stamped_version(watched)
    listed = use(watched, "list_platforms")
    assert listed["version"] == version
    assert listed["platforms"][0]["approvalScopes"] == ["chat:read", "chat:write"]


def test_an_invite_is_all_it_needs_to_boot(site: Site) -> None:
    """The first start binds; the second finds the key on disk; the secret is good for nothing else."""
    secret = site.secrets["mcp-invite"]
    for env in ({"PROXY_URL": site.url, "INVITE_BIND_SECRET": secret}, {}):
        host = site.mcp_host("mcp-invite", AV_PERMISSIONS_POLL_MS="0", **env)
        try:
            assert [entry["platformId"] for entry in use(host, "list_platforms")["platforms"]] == [
                "acme-chat",
                "broken",
            ]
        finally:
            host.close()
    body = {"bind_secret": secret, "public_key_pem": public_key("another host")}
    reply = site.request("POST", "/v1/invites/bind", body=body)
    assert (reply.status, reply.json["code"]) == (410, "gone")


def test_it_boots_without_any_identity(site: Site) -> None:
    host = site.mcp_host("nobody")
    try:
        assert len(host.order("tools").outcome["returned"]) == len(TOOLS)
        outcome = host.order("call", name="list_platforms", arguments={}).outcome
        assert "credentials are not configured" in refusal(outcome)
    finally:
        host.close()


def test_an_identity_without_a_key_is_told_to_wait(site: Site) -> None:
    host = site.mcp_host("keyless", PROXY_URL=site.url, AGENT_ID=site.ids["mcp"], OWNER_ID=site.owner_id)
    try:
        outcome = host.order("call", name="list_platforms", arguments={}).outcome
        assert "not yet activated" in refusal(outcome)
    finally:
        host.close()


def test_observe_mode_relays_with_the_agents_own_credential(site: Site) -> None:
    host = site.mcp_server("mcp", OBSERVE_CREDENTIAL=site.platform.token, OBSERVE_PLATFORM="acme-chat")
    try:
        seen = use(host, "read_platform", platform="acme-chat", endpoint="/api/messages?observed=1", scope="chat:read")
        assert seen == {"id": 7, "ok": True}
        (request,) = [request for request in site.platform.requests if "observed=1" in request["path"]]
        assert request["headers"]["Authorization"] == f"Bearer {site.platform.token}"
    finally:
        host.close()
