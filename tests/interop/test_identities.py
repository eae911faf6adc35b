"""Every way for a client to get an identity, and to give it up: the command lines of PyPI and npm, unmodified."""

import json
import re

import pytest

from tests.interop.desk import Desk
from tests.interop.machine import Machine, let_in
from tests.interop.owner import Owner
from tests.interop.site import REGISTER

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]

ALLOWED = [{"platform": "acme-chat", "scope": "chat:read", "require_approval": False}]


def installed(machine: Machine, agent: str, owner: Owner) -> None:
    """`install itok_…` for this agent."""
    token = owner.do("install_token", agent=agent)
    command = machine.register("install", token, AGENTVALET_API_URL=machine.site.url)
    assert command.finish() == 0, command.printed


def newcomer(machine: Machine, owner: Owner, name: str) -> str:
    """A fresh agent that this machine holds the key of, by the default flow; its id."""
    command = machine.register(
        *("--api-url", machine.site.url, "--owner", machine.site.owner_id, "--name", name, "--json"),
        *("--scope", "acme-chat:chat:read"),
    )
    agent = owner.once_asked("admit", name=name, grants=ALLOWED)
    assert command.finish() == 0, command.printed
    said = json.loads(command.printed.splitlines()[-1])
    assert said == {"status": "approved", "agentId": agent, "keyPath": str(machine.kept / "agent.key")}
    return agent


def test_a_code_is_all_the_python_client_needs(machine: Machine) -> None:
    secret = machine.site.secrets["python-cli"]
    command = machine.agentvalet("register", "--code", secret, "--proxy-url", machine.site.url)
    assert command.finish() == 0, command.printed
    assert f"Bound agent {machine.site.ids['python-cli']}" in command.printed
    assert machine.reads()
    again = machine.agentvalet("register", "--code", secret, "--proxy-url", machine.site.url)
    assert again.finish() == 1
    assert "Registration failed: This code is unknown, used or older than 30 minutes" in again.printed
    assert machine.reads()


def test_the_node_command_registers_waits_and_takes_its_key(machine: Machine, owner: Owner) -> None:
    newcomer(machine, owner, "node newcomer")
    assert (machine.kept / "agent.key").stat().st_mode & 0o777 == 0o600
    assert "chat:read" in (machine.project / ".claude/agentvalet-permissions.md").read_text()
    assert machine.reads()


def test_the_node_command_hears_that_it_was_turned_away(machine: Machine, owner: Owner) -> None:
    command = machine.register(
        *("--api-url", machine.site.url, "--owner", machine.site.owner_id, "--name", "unwelcome", "--json")
    )
    owner.once_asked("turn_away", name="unwelcome")
    assert command.finish() == 1
    assert json.loads(command.printed) == {"status": "rejected"}
    assert not (machine.kept / "agent.key").exists()


def test_an_install_token_binds_a_key_and_the_file_of_permissions_can_be_refreshed(
    machine: Machine, owner: Owner
) -> None:
    agent = machine.site.ids["docs"]
    installed(machine, agent, owner)
    config = json.loads((machine.kept / "config.json").read_text())
    assert (config["agentId"], config["apiUrl"]) == (agent, machine.site.url)
    assert machine.reads()
    refresh = machine.register("refresh")
    assert refresh.finish() == 0, refresh.printed
    assert "(2 platforms)" in refresh.printed
    text = (machine.project / ".claude/agentvalet-permissions.md").read_text()
    assert "### Acme Chat (`acme-chat`)" in text
    assert "`chat:write` — requires human approval" in text


def test_a_used_install_token_is_refused_with_a_sentence(machine: Machine, owner: Owner) -> None:
    token = owner.do("install_token", agent=machine.site.ids["docs"])
    first, second = (machine.register("install", token, AGENTVALET_API_URL=machine.site.url) for _ in range(1, 3))
    codes = {first.finish(), second.finish()}
    assert codes == {0, 3}, first.printed + second.printed
    assert "This install token is invalid, used or expired" in first.printed + second.printed


def test_a_person_signs_the_command_line_in_registers_lists_and_revokes(machine: Machine, desk: Desk) -> None:
    command = machine.register("--name", "from the terminal", AGENTVALET_API_URL=machine.site.url)
    let_in(command, desk)
    command.until("Useful commands")  # the process stays for its two minutes: a flaw of the client
    assert "All done!" in command.printed
    registered = re.search(r"Agent registered: (agt_\w+)", command.printed)
    assert registered, command.printed
    agent = registered[1]
    assert f"AGENTVALET_API_URL={machine.site.url}" in (machine.project / ".env.agentvalet").read_text()
    listed = machine.register("list")
    assert listed.finish() == 0, listed.printed
    assert re.search(rf"{agent} +from the terminal +✓ active", listed.printed)
    revoke = machine.register("revoke", "--agent-id", agent, "--keep-local")
    revoke.answer("y")
    assert revoke.finish() == 0, revoke.printed
    assert "Revoked 1 agent(s)" in revoke.printed
    after = machine.register("list")
    assert after.finish() == 0
    assert re.search(rf"{agent} +from the terminal +✗ revoked", after.printed)


def test_the_command_line_may_do_nothing_before_somebody_signs_in(machine: Machine) -> None:
    listed = machine.register("list", AGENTVALET_API_URL=machine.site.url)
    assert listed.finish() == 1
    for path in ("/functions/v1/list-agents", "/functions/v1/revoke-agent"):
        method = "GET" if path.endswith("agents") else "POST"
        reply = machine.site.request(method, path, body=None if method == "GET" else {}, Authorization="Bearer nothing")
        assert reply.status == 401


@pytest.mark.parametrize("yes", [True, False])
def test_uninstalling_waits_for_the_owner(machine: Machine, owner: Owner, yes: bool) -> None:
    agent = newcomer(machine, owner, f"leaving {yes}")
    command = machine.register("uninstall")
    command.until("Revocation request submitted")
    owner.once_asked("let_go", agent=agent, yes=yes)
    command.until("Approved — cleaning local files" if yes else "Owner rejected the uninstall request")
    if yes:
        command.until("Agent revoked")  # the process stays until its own timer ends: a flaw of the client
        assert not machine.kept.exists()
    else:
        assert command.finish() == 1
        assert machine.reads()


def test_claiming_with_the_node_command_asks_a_host_that_it_has_built_in(machine: Machine) -> None:
    """docs/agents.md says so, and what to use instead. Should a later release heed --api-url, this test tells."""
    source = REGISTER.read_text()
    assert '.option("--api-url <url>", "AgentValet proxy URL", DEFAULT_PROXY_URL)' in source
    help_text = machine.register("claim", "--help")
    assert help_text.finish() == 0
    assert "https://api.agentvalet.ai" in help_text.printed
