"""CrewAI's governed tools: what a crew gets to see, and what it hears when a call is allowed, denied or waits."""

import json
from collections.abc import Iterator

import pytest

from tests.interop.owner import Owner
from tests.interop.remote import Pending, Remote
from tests.interop.site import CREW_PYTHON, Site

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]


@pytest.fixture(scope="module")
def crew(site: Site) -> Iterator[Remote]:
    remote = site.python_client("crew", kind="sync", python=CREW_PYTHON, script="crew_tools.py")
    yield remote
    remote.close()


def write(crew: Remote, text: str, **more: object) -> Pending:
    arguments = {"endpoint": "/api/messages", "scope": "chat:write", "method": "POST", "data": {"text": text}}
    return crew.order("run", tool="acme_chat_call", **{"with": arguments} | more)


def test_there_is_one_tool_for_each_platform_with_the_granted_scopes_only(site: Site, crew: Remote) -> None:
    tools = crew.order("tools").outcome["returned"]
    assert set(tools) == {"acme_chat_call", "broken_call"}
    fields = tools["acme_chat_call"]["schema"]["properties"]
    assert fields["scope"]["enum"] == ["chat:read", "chat:write"]
    assert all(connection in json.dumps(fields["connection_id"]) for connection in site.connections.values())


def test_an_allowed_call_returns_the_platforms_answer(crew: Remote) -> None:
    order = crew.order(
        "run", tool="acme_chat_call", **{"with": {"endpoint": "/list", "scope": "chat:read", "method": "GET"}}
    )
    assert json.loads(order.outcome["returned"])["data"] == [1, 2, 3]


def test_what_is_refused_comes_back_as_words(crew: Remote) -> None:
    mismatch = crew.order(
        "run",
        tool="acme_chat_call",
        **{"with": {"endpoint": "/api/messages", "scope": "chat:read", "method": "DELETE"}},
    )
    said = mismatch.outcome["returned"]
    assert said.startswith("Denied by policy: ")
    assert "endpoint_scope_mismatch" in said


def test_a_call_that_waits_returns_what_was_approved(crew: Remote, owner: Owner) -> None:
    order = write(crew, "(approved for the crew)")
    owner.approve("(approved for the crew)")
    assert json.loads(order.outcome["returned"])["data"] == {"id": 7, "ok": True}


def test_a_denied_call_returns_so(crew: Remote, owner: Owner) -> None:
    order = write(crew, "(denied for the crew)")
    owner.deny("(denied for the crew)", reason="no")
    assert order.outcome["returned"] == "The owner declined this action. Do not retry it."


def test_a_call_that_nobody_decides_returns_its_approval_id(crew: Remote, owner: Owner) -> None:
    order = write(crew, "(left by the crew)", patience=1)
    said = order.outcome["returned"]
    approval_id = owner.deny("(left by the crew)")
    assert said == (
        f"Waiting on owner approval (approval id {approval_id}). The action is queued and will execute if approved. "
        "Do NOT issue this call again."
    )
