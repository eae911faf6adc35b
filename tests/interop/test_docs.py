"""docs/agents.md, copied and pasted: every block of it runs, with a real code, address and id in place of its own."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.machine import Machine, let_in
from tests.interop.owner import Owner
from tests.interop.site import INVITED, Site
from tests.runtime.installation import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]

PAGE = (ROOT / "docs" / "agents.md").read_text()
DEFAULT = "http://localhost:8080"


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of a language under a heading."""
    section = re.split(r"(?m)^## ", PAGE.partition(f"\n## {heading}\n")[2])[0]
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", section)


def filled_in(text: str, site: Site, **values: str) -> str:
    """The text with this installation's address, and VALUES in place of the words that stand for them."""
    text = text.replace(DEFAULT, site.url).replace("OWNER_ID", site.owner_id)
    for placeholder, value in values.items():
        text = re.sub(rf"\b{placeholder}_…", value, text)
    assert "…" not in text.replace('"…"', "")
    return text


@pytest.fixture(scope="module")
def bound(site: Site) -> Iterator[Machine]:
    """A machine after the first block of the page."""
    machine = Machine(site, "docs-python")
    (block,) = blocks("Python", "sh")
    command = machine.shell(filled_in(block, site, bsec=site.secrets["docs-python"]))
    assert command.finish() == 0, command.printed
    yield machine
    machine.stop()


def test_every_block_of_the_page_is_run_here() -> None:
    found = re.findall(r"(?m)^```(\w+)$", PAGE)
    assert sorted(found) == sorted([*["sh"] * 10, *["python"] * 5, "json"])


def test_the_python_client_calls(bound: Machine) -> None:
    command = bound.python(blocks("Python", "python")[0])
    assert command.finish() == 0, command.printed
    assert command.printed == "{'id': 7, 'ok': True}\n"


@pytest.mark.parametrize("yes", [True, False])
def test_the_python_client_waits(bound: Machine, owner: Owner, yes: bool) -> None:
    command = bound.python(blocks("Python", "python")[1])
    if yes:
        owner.approve("2.4 is live")
        assert command.finish() == 0, command.printed
        assert command.printed == "{'id': 7, 'ok': True}\n"
    else:
        owner.deny("2.4 is live", reason="too early")
        assert command.finish() == 1
        assert command.printed == "Somebody said no: Owner denied this action: too early\n"


def test_the_asynchronous_client_calls(bound: Machine) -> None:
    command = bound.python(blocks("Python", "python")[2])
    assert command.finish() == 0, command.printed
    assert command.printed == "{'id': 7, 'ok': True}\n"


def test_a_child_calls(bound: Machine) -> None:
    (block,) = blocks("Child agents", "python")
    command = bound.python(block)
    assert command.finish() == 0, command.printed
    assert command.printed == "{'id': 7, 'ok': True}\n"


def test_a_crew_gets_its_tools(bound: Machine) -> None:
    (install,) = blocks("CrewAI", "sh")
    assert bound.shell(install).finish() == 0
    (block,) = blocks("CrewAI", "python")
    command = bound.python(block, crew=True)
    assert command.finish() == 0, command.printed
    assert command.printed.splitlines()[-2:] == ["acme_chat_call", "broken_call"]


def entry(site: Site) -> dict[str, Any]:
    (block,) = blocks("Claude Code, Claude Desktop, Cursor", "json")
    found: dict[str, Any] = json.loads(filled_in(block, site, bsec=site.secrets["docs-mcp"]))["mcpServers"][
        "agentvalet"
    ]
    return found


def test_the_file_of_a_host_starts_a_server_that_binds_itself(site: Site) -> None:
    machine = Machine(site, "docs-mcp")
    what = entry(site)
    host = site.mcp_host("docs-mcp", start=[what["command"], *what["args"]], PATH=machine.path, **what["env"])
    try:
        outcome = host.order("call", name="list_platforms", arguments={}).outcome
        assert [entry["platformId"] for entry in outcome["returned"]["structuredContent"]["platforms"]]
    finally:
        host.close()
    assert (machine.kept / "agent.key").exists()


def test_the_command_of_claude_code_says_the_same_as_the_file(site: Site, machine: Machine) -> None:
    (machine.bin / "claude").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (machine.bin / "claude").chmod(0o755)
    (block,) = blocks("Claude Code, Claude Desktop, Cursor", "sh")
    command = machine.shell(filled_in(block, site, bsec=site.secrets["docs-mcp"]))
    assert command.finish() == 0
    what = entry(site)
    options = [word for name, value in what["env"].items() for word in ("--env", f"{name}={value}")]
    wanted = ["mcp", "add", "agentvalet", *options, "--", what["command"], *what["args"]]
    assert command.printed.splitlines() == wanted


def test_curl_binds_and_calls(site: Site, machine: Machine) -> None:
    bind, sign, call = blocks("curl", "sh")
    command = machine.shell(filled_in(bind, site, bsec=site.secrets["docs-curl"]))
    assert command.finish() == 0, command.printed
    assert site.ids["docs-curl"] in command.printed
    command = machine.shell(filled_in(f"{sign}\necho\n{call}", site))
    assert command.finish() == 0, command.printed
    permissions, answer = (json.loads(line) for line in command.printed.splitlines() if line)
    assert "acme-chat" in str(permissions)
    assert answer["data"] == {"id": 7, "ok": True}


def test_the_node_command_line_installs_registers_and_signs_in(site: Site, machine: Machine, owner: Owner) -> None:
    install, register, sign_in, manage = blocks("The Node command line", "sh")
    token = owner.install_token(site.ids["docs"]).removeprefix("itok_")
    command = machine.shell(filled_in(install, site, itok=f"itok_{token}"))
    assert command.finish() == 0, command.printed
    assert "Permissions refreshed" in command.printed

    other = Machine(site, "docs-register")
    command = other.shell(filled_in(register, site))
    owner.admit("Release bot", "acme-chat:chat:read")
    assert command.finish() == 0, command.printed
    assert other.reads()
    other.stop()

    command = machine.shell(filled_in(sign_in, site))
    let_in(command, owner)
    agent = command.until("Agent registered: ").split()[-1]
    command.until("Useful commands")
    command = machine.shell(filled_in(manage, site, agt=agent))
    command.answer("y")
    assert command.finish() == 0, command.printed
    assert "Revoked 1 agent(s)" in command.printed


def test_the_page_has_codes_for_everybody_it_invites() -> None:
    assert {"docs-python", "docs-mcp", "docs-curl"} <= set(INVITED)
