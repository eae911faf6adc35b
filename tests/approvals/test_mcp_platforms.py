"""MCP servers as platforms: a scope names tools, a person decides on the message, and the tool is called once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.binding import read_form
from approvals.models import ApprovalRequest
from platforms.connection_tests import test_connection as try_connection
from platforms.definitions import mcp_test_call, parse_rules
from platforms.models import Platform
from tests.approvals.test_actions_api import post
from tests.approvals.test_decisions import approve
from tests.approvals.test_observe import observe
from tests.approvals.test_runs import run
from tests.world import CountingPlatform, Side, bearer, change_platform, make_side, new_token

_FAKE = Path(__file__).parents[1] / "fakes" / "mcp_server.py"
TOOLS = ["POST /echo", "POST /text", "POST /words", "POST /many", "POST /fails", "POST /unknown"]
SCOPES = (("mcp:read", TOOLS, False), ("mcp:write", ["POST /echo"], True))


@pytest.fixture(scope="module")
def running_mcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingPlatform]:
    log, token = tmp_path_factory.mktemp("mcp") / "requests.jsonl", new_token()
    command = [sys.executable, str(_FAKE), str(log), token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield CountingPlatform(url=f"http://127.0.0.1:{int(process.stdout.readline())}", token=token, log=log)
        process.communicate()


@pytest.fixture
def server(running_mcp: CountingPlatform, settings: Settings) -> CountingPlatform:
    running_mcp.log.write_text("")
    settings.PRIVATE_TARGETS = [running_mcp.url.removeprefix("http://")]
    return running_mcp


@pytest.fixture
def side(db: None, server: CountingPlatform) -> Side:
    side = make_side("Acme", base_url=f"{server.url}/mcp", token=server.token, scopes=SCOPES)
    Platform.objects.update(call_style="mcp", test_call=mcp_test_call())
    return side


def at(side: Side, server: CountingPlatform, path: str) -> None:
    side.platform.refresh_from_db()
    change_platform(side.platform, base_url=f"{server.url}{path}")


def call(client: Client, side: Side, tool: str = "echo", **change: Any) -> Any:
    asked = {"platform": "acme-chat", "endpoint": f"/{tool}", "method": "POST", "scope": "mcp:read"}
    return post(client, side, asked | {"data": {"text": "hellö"}} | change)


def methods(server: CountingPlatform) -> list[str]:
    return [json.loads(sent["body"])["method"] for sent in server.requests]


HANDSHAKE = ["initialize", "notifications/initialized"]


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
@pytest.mark.parametrize(
    ("tool", "data"),
    [("echo", {"text": "hellö"}), ("text", {"text": "hellö"}), ("words", "plain words"),
     ("many", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])],
)  # fmt: skip
def test_a_tools_result_is_the_data_of_the_answer(
    client: Client, side: Side, server: CountingPlatform, path: str, tool: str, data: object
) -> None:
    at(side, server, path)
    answer = call(client, side, tool)
    assert (answer.status_code, answer.json()["data"]) == (200, data)
    assert methods(server) == [*HANDSHAKE, "tools/call"]
    assert {sent["path"] for sent in server.requests} == {path}


def test_numbers_come_back_as_they_were_sent(client: Client, side: Side) -> None:
    asked = '{"platform":"acme-chat","endpoint":"/echo","method":"POST","scope":"mcp:read","data":{"b":1.50,"a":9e2}}'
    assert b'"data":{"b":1.50,"a":9e2}' in post(client, side, asked).content


def test_a_person_decides_on_the_message_and_exactly_that_is_sent_once(
    client: Client, side: Side, server: CountingPlatform
) -> None:
    queued = call(client, side, scope="mcp:write")
    approval = ApprovalRequest.objects.get(pk=queued.json()["approval_id"])
    form = read_form(bytes(approval.form))
    assert (form.url, form.endpoint) == (f"{server.url}/mcp", "/echo")
    assert json.loads(form.body or "")["params"] == {"name": "echo", "arguments": {"text": "hellö"}}
    assert server.requests == []
    approve(side, approval)
    assert json.loads(run(approval).result_json or "")["data"]["data"] == {"text": "hellö"}
    assert methods(server) == [*HANDSHAKE, "tools/call"]
    assert server.requests[2]["body"] == form.body
    keys = [sent["headers"].get("Idempotency-Key") for sent in server.requests]
    assert keys == [None, None, str(approval.pk)]


def test_a_platform_that_is_no_mcp_server_any_more_gets_nothing_of_it(
    client: Client, side: Side, server: CountingPlatform
) -> None:
    queued = call(client, side, scope="mcp:write")
    approval = approve(side, ApprovalRequest.objects.get(pk=queued.json()["approval_id"]))
    Platform.objects.update(call_style="")
    assert "address was changed" in str(run(approval).execution_error)
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"tool": "other"}, 403, None),
        ({"tool": "echo/more"}, 403, None),
        ({"tool": "echo?text=1"}, 400, "endpoint_refused"),
        ({"method": "GET"}, 403, None),
        ({"data": [1]}, 400, "body_refused"),
        ({"data": None}, 400, "body_refused"),
    ],
)
def test_what_no_scope_names_or_no_tool_takes_is_refused_unsent(
    client: Client, side: Side, server: CountingPlatform, change: dict[str, Any], status: int, code: str | None
) -> None:
    answer = call(client, side, **change)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert server.requests == []


def test_a_tool_that_fails_and_one_that_is_not_there_are_errors_of_the_platform(client: Client, side: Side) -> None:
    failed = call(client, side, "fails")
    assert (failed.status_code, failed.json()["error"]) == (422, "no such room")
    unknown = call(client, side, "unknown")
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (400, "Unknown tool")
    assert failed.json()["_agentvalet"]["upstream"] is unknown.json()["_agentvalet"]["upstream"] is True


@pytest.mark.parametrize(
    ("path", "status", "code"), [("/closed", 403, None), ("/odd", 502, "invalid_response")]
)  # fmt: skip
def test_a_server_that_opens_no_session_was_asked_for_nothing(
    client: Client, side: Side, server: CountingPlatform, path: str, status: int, code: str | None
) -> None:
    at(side, server, path)
    answer = call(client, side)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert methods(server) == ["initialize"]
    queued = ApprovalRequest.objects.get(pk=call(client, side, scope="mcp:write").json()["approval_id"])
    assert run(approve(side, queued)).outcome_unknown is False


def test_a_call_whose_answer_is_cut_has_an_unknown_outcome(
    client: Client, side: Side, server: CountingPlatform
) -> None:
    at(side, server, "/lost")
    queued = ApprovalRequest.objects.get(pk=call(client, side, scope="mcp:write").json()["approval_id"])
    assert run(approve(side, queued)).outcome_unknown is True
    assert methods(server).count("tools/call") == 1


def test_the_test_of_a_connection_opens_a_session_and_calls_nothing(side: Side, server: CountingPlatform) -> None:
    tested = try_connection(
        member=side.admin, connection_id=side.connection.pk, request_id=side.connection.pk, now=timezone.now()
    )
    assert (tested.works, methods(server)) == (True, ["initialize"])


def test_an_observed_call_is_a_tool_call_too(client: Client, side: Side, server: CountingPlatform) -> None:
    side.grants["mcp:write"].delete()
    asked = {"platform": "acme-chat", "endpoint": "/echo", "method": "POST", "body": {"text": "seen"}}
    assert observe(client, side, asked, server.token).json() == {"text": "seen"}
    assert methods(server) == [*HANDSHAKE, "tools/call"]


def test_agents_are_told_whose_tools_they_are(client: Client, side: Side, server: CountingPlatform) -> None:
    entry = client.get("/v1/agent/permissions", headers=bearer(side.agent)).json()["platforms"][0]
    assert (entry["serverHost"], entry["serverName"]) == (server.url.removeprefix("http://"), "Acme Chat")
    assert "callStyle" not in entry


@pytest.mark.parametrize("rule", ["GET /echo", "POST /", "POST /*", "POST /**", "POST /a/b", "* /echo"])
def test_the_rules_of_an_mcp_server_name_tools(rule: str) -> None:
    assert parse_rules(["POST /echo", "POST /a.b-c_d"], call_style="mcp") == ["POST /echo", "POST /a.b-c_d"]
    with pytest.raises(ValueError, match="name its tools"):
        parse_rules([rule], call_style="mcp")
