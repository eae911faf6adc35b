"""The table of what a call can come to (docs/agents.md), for the Python client of both kinds and the MCP server.

All calls that wait are made first and decided on together; each test then reads one cell.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.interop.outcomes import KINDS, MESSAGE, call, error, value
from tests.interop.owner import Owner
from tests.interop.remote import Line, Pending, Remote
from tests.interop.site import Site

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]


def words_of(kind: str, name: str) -> str:
    """What the card of this call says, and no other's."""
    return f"({name} by {kind})"


@dataclass
class Case:
    """A call that waits for a person, and what becomes of it."""

    decision: str  # approve, deny, or nothing
    endpoint: str = "/api/messages"
    reason: str = ""
    platform: str = "acme-chat"
    scope: str = "chat:write"


CASES = {
    "executed": Case("approve"),
    "slow": Case("approve", "/slow/5"),
    "text": Case("approve", "/text"),
    "nothing": Case("approve", "/empty"),
    "array": Case("approve", "/list"),
    "refused": Case("approve", "/status/503"),
    "own-words": Case("approve", "/own"),
    "not-executed": Case("approve", platform="broken", scope="broken:call"),
    "denied": Case("deny"),
    "denied-why": Case("deny", reason="Wrong channel — <b>twice</b>"),
    "expired": Case(""),
}


@dataclass
class Table:
    """All cells: what each client got, and the approval's id where somebody decided."""

    site: Site
    pending: dict[tuple[str, str], Pending] = field(default_factory=dict)
    ids: dict[tuple[str, str], str] = field(default_factory=dict)
    while_running: dict[str, Any] = field(default_factory=dict)

    def outcome(self, kind: str, name: str) -> Line:
        return self.pending[kind, name].outcome

    def poll(self, kind: str, name: str) -> Any:
        """The bytes of a poll, as the agent itself gets them now."""
        reply = self.site.request("GET", f"/v1/approvals/{self.ids[kind, name]}", agent=kind)
        assert reply.status == 200
        return reply.json


@pytest.fixture(scope="module")
def table(site: Site, clients: dict[str, Remote]) -> Table:
    table = Table(site)
    for name, case in CASES.items():
        for kind, remote in clients.items():
            table.pending[kind, name] = call(
                remote,
                kind,
                platform=case.platform,
                endpoint=case.endpoint,
                method="POST",
                scope=case.scope,
                data={"text": words_of(kind, name)},
                reason=f"To see {name}",
            )
    with ThreadPoolExecutor() as people:
        for done in [people.submit(decide, table, kind) for kind in KINDS]:
            done.result()
    return table


def decide(table: Table, kind: str) -> None:
    """One person goes through all the calls of one client."""
    owner = table.site.owner()
    for name, case in CASES.items():
        if case.decision == "approve":
            table.ids[kind, name] = owner.approve(words_of(kind, name))
        elif case.decision == "deny":
            table.ids[kind, name] = owner.deny(words_of(kind, name), reason=case.reason)
        if name == "slow":
            table.while_running[kind] = table.poll(kind, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "data"),
    [("executed", MESSAGE), ("slow", {"late": True}), ("text", "plain words"), ("nothing", None), ("array", [1, 2, 3])],
)
def test_what_was_approved_and_done_comes_back_in_the_envelope_of_a_direct_call(
    table: Table, kind: str, name: str, data: object
) -> None:
    envelope = value(table.outcome(kind, name))
    assert envelope["data"] == data
    assert len(envelope["_meta"]["audit_id"]) == 36
    poll = table.poll(kind, name)
    assert poll["status"] == "approved"
    assert poll["executed_at"]
    assert poll["result"] == {"status": 204 if name == "nothing" else 200, "data": envelope}
    assert "execution_error" not in poll


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_still_runs_says_neither_result_nor_error(table: Table, kind: str) -> None:
    seen = table.while_running[kind]
    assert (seen["status"], seen["executed_at"]) == ("approved", None)
    assert not {"result", "execution_error"} & set(seen)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_python_client_tells_its_caller_how_the_wait_goes(table: Table, kind: str) -> None:
    table.outcome(kind, "slow")
    news = table.pending[kind, "slow"].progress
    assert {item["approval_id"] for item in news} == {table.ids[kind, "slow"]}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_platform_refused_comes_back_as_its_refusal(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "refused"))
    assert said.startswith("Upstream returned 503" if kind == "mcp" else "UpstreamError: Upstream returned 503")
    assert "status_was" in said
    poll = table.poll(kind, "refused")
    assert poll["result"]["status"] == 503
    assert "execution_error" not in poll


@pytest.mark.parametrize("kind", KINDS)
def test_a_platform_that_speaks_like_us_is_not_taken_for_us(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "own-words"))
    assert "Upstream returned 403" in said
    assert table.poll(kind, "own-words")["result"]["data"]["reason"] == "agent_revoked"


@pytest.mark.parametrize("kind", KINDS)
def test_what_could_not_be_sent_says_why(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "not-executed"))
    assert said.removeprefix("ProxyError: Proxy error 502: ").startswith("Approved but re-execution failed: ")
    poll = table.poll(kind, "not-executed")
    assert poll["execution_error"]
    assert "result" not in poll


@pytest.mark.parametrize("kind", KINDS)
def test_a_denial_is_final(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "denied"))
    assert said.removeprefix("ApprovalDeniedError: ") == "Owner denied this action."


@pytest.mark.parametrize("kind", KINDS)
def test_a_denial_carries_the_approvers_words(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "denied-why"))
    assert said.removeprefix("ApprovalDeniedError: ") == f"Owner denied this action: {CASES['denied-why'].reason}"


def test_a_wait_is_resumed_in_another_process(
    site: Site, owner: Owner, clients: dict[str, Remote], table: Table
) -> None:
    """The client gives up long before the card does; another process, of the other kind, gets the answer."""
    asked = {
        "platform": "acme-chat",
        "endpoint": "/api/messages",
        "method": "POST",
        "scope": "chat:write",
        "data": {"text": "resume me."},
    }
    first = clients["sync"].order("call", **{"with": asked | {"approval_timeout_s": 2.5}})
    assert first.outcome["raised"] == "ApprovalTimeoutError"
    other = site.python_client("sync", kind="async")
    try:
        resumed = other.order("wait_for_approval", **{"with": {"approval_id": first.outcome["approval_id"]}})
        assert owner.approve("resume me.") == first.outcome["approval_id"]
        assert value(resumed.outcome)["data"] == MESSAGE
        again = other.order("wait_for_approval", **{"with": {"approval_id": first.outcome["approval_id"]}})
        assert value(again.outcome) == value(resumed.outcome)
    finally:
        other.close()


def test_the_mcp_server_tells_its_host_how_the_wait_goes(table: Table) -> None:
    waiting = table.pending["mcp", "expired"]
    table.outcome("mcp", "expired")
    said = [news["message"] for news in waiting.progress]
    assert said[0] == "Owner approval required for acme-chat:chat:write — waiting…"
    assert len(said) >= 3
    assert all(news["total"] == 50_000 for news in waiting.progress)


@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_decided_expires(table: Table, kind: str) -> None:
    said = error(table.outcome(kind, "expired"))
    assert said.removeprefix("ApprovalExpiredError: ") == "Approval request expired before the owner responded."


def test_each_approved_call_was_made_exactly_once(table: Table) -> None:
    for kind, name in table.pending:
        table.outcome(kind, name)
    bodies = [request["body"] for request in table.site.platform.requests]
    for kind in KINDS:
        for name, case in CASES.items():
            wanted = 1 if case.decision == "approve" and case.platform == "acme-chat" else 0
            assert bodies.count(json.dumps({"text": words_of(kind, name)}, separators=(",", ":"))) == wanted, (
                kind,
                name,
            )
