"""An agent's secrets: shown once, in the answer to a POST, with the command to run."""

import json
import re
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.enrolment import add_key, bind
from agents.keys import make_key_pair
from agents.lifecycle import NotAllowed
from agents.models import Agent, AgentStatus, Invite, InviteKind, Member
from agents.newcomers import make_agent
from agents.onetime import hash_of
from audit.models import AuditEvent
from tests.pages import asks
from tests.pages.scene import Scene, signed_in
from tests.pages.test_agents import page, state
from tests.world import public_key

SECRET = re.compile(r"(?:itok|bsec)_[\w-]{43}")


def shown_once(client: Client, response: Any, *, prefix: str) -> str:
    """The one secret in the answer to a POST, which nothing keeps."""
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    found = set(SECRET.findall(response.content.decode()))
    assert len(found) == 1
    secret = str(found.pop())
    assert secret.startswith(f"{prefix}_")
    assert Invite.objects.get(used_at=None).secret_hash == hash_of(secret)
    kept = str(dict(client.session)) + str(list(AuditEvent.objects.values()))
    assert secret not in kept
    assert not SECRET.search(page(client, "/agents"))
    return secret


@pytest.mark.parametrize(
    ("button", "kind", "prefix"),
    [("install-token", InviteKind.INSTALL, "itok"), ("bind-code", InviteKind.BIND, "bsec")],
)
def test_a_token_is_shown_once_and_binds_a_key(
    scene: Scene, admin: Client, button: str, kind: InviteKind, prefix: str
) -> None:
    add_key(agent=scene.agent, pem=public_key("first"))
    address = f"/agents/{scene.agent.pk}"
    earlier = shown_once(admin, admin.post(f"{address}/{button}"), prefix=prefix)
    secret = shown_once(admin, admin.post(f"{address}/{button}"), prefix=prefix)
    assert earlier != secret
    html = page(admin, address)
    assert secret not in html
    assert "is open until" in html
    bound = bind(kind=kind, secret=secret, pem=make_key_pair()[1], **asks.moment())
    assert bound.pk == scene.agent.pk
    assert "is open until" not in page(admin, address)


def copied(html: str) -> dict[str, str]:
    """What the page has to copy, by the name of the block."""
    return {name: unescape(text) for name, text in re.findall(r'<pre [^>]*id="([\w-]+)"[^>]*>(.*?)</pre>', html, re.S)}


def test_a_new_agent_comes_with_what_each_client_needs_word_for_word_as_the_documentation_has_it(
    scene: Scene, admin: Client, settings: Settings
) -> None:
    """That every block there works is what tests/interop/test_docs.py shows."""
    settings.PUBLIC_URL = "https://valet.acme.example"
    response = admin.post("/agents/new", {"name": "  release   bot ", "kind": "bind"})
    secret = shown_once(admin, response, prefix="bsec")
    html = response.content.decode()
    blocks = copied(html)
    names = ["python-1", "claude-code-1", "claude-desktop-1", "cursor-1", "crewai-1", "crewai-2", "curl-1", "curl-2"]
    assert list(blocks) == ["secret", *names]
    documentation = (settings.BASE_DIR / "docs" / "agents.md").read_text()
    for name in names:
        text = blocks[name].replace(settings.PUBLIC_URL, "http://localhost:8080").replace(secret, "bsec_…")
        assert f"\n{text}\n```\n" in documentation, name
    for host in ("claude-desktop-1", "cursor-1"):
        entry = json.loads(blocks[host])["mcpServers"]["agentvalet"]
        assert (entry["command"], entry["args"]) == ("npx", ["-y", "@agentvalet/mcp-server"])
        assert entry["env"] == {"PROXY_URL": "https://valet.acme.example", "INVITE_BIND_SECRET": secret}
    agent = Agent.objects.get(name="release bot")
    for link in (f"/agents/{agent.pk}#permissions", "/set-up/steps", "/api-docs"):
        assert f'href="{link}"' in html
    assert (agent.owner, agent.status, agent.grants.count()) == (scene.owner, AgentStatus.ACTIVE, 0)
    events = AuditEvent.objects.filter(agent_id=agent.pk).order_by("seq").values_list("event", flat=True)
    assert list(events) == ["agent.created", "agent.invited"]


def test_the_node_command_line_gets_an_install_token(scene: Scene, admin: Client) -> None:
    response = admin.post("/agents/new", {"name": "release bot", "kind": "install"})
    secret = shown_once(admin, response, prefix="itok")
    command = f"export AGENTVALET_API_URL=http://localhost:8080\nnpx -y @agentvalet/register install {secret}"
    assert copied(response.content.decode()) == {"secret": secret, "install": command}


BAD_AGENTS = [
    ({"name": "", "kind": "bind"}, "This field is required."),
    ({"kind": "bind"}, "This field is required."),
    ({"name": "\u200b", "kind": "bind"}, "Give the agent a name."),
    ({"name": "a\0b", "kind": "bind"}, "Null characters are not allowed."),
    ({"name": "x" * 201, "kind": "bind"}, "at most 200 characters"),
    ({"name": "deploy-bot", "kind": "bind"}, "There is an agent called deploy-bot already."),
    ({"name": "fine", "kind": "other"}, "Choose one of the two."),
    ({"name": "fine"}, "Choose one of the two."),
]


@pytest.mark.parametrize(("data", "sentence"), BAD_AGENTS, ids=range(len(BAD_AGENTS)))
def test_a_form_that_makes_no_agent_says_why(scene: Scene, admin: Client, data: dict[str, str], sentence: str) -> None:
    before = state()
    response = admin.post("/agents/new", data)
    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert not SECRET.search(response.content.decode())
    assert state() == before


def test_a_name_of_200_characters_is_a_name(scene: Scene, admin: Client) -> None:
    assert admin.post("/agents/new", {"name": "x" * 200, "kind": "bind"}).status_code == 200


@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_an_admin_makes_agents(scene: Scene, role: str) -> None:
    member: Member = getattr(scene, role)
    client = signed_in(member)
    assert "Only an admin makes agents." in page(client, "/agents/new")
    assert 'href="/agents/new"' not in page(client, "/agents")
    before = state()
    assert client.post("/agents/new", {"name": "mine", "kind": "bind"}).status_code == 403
    with pytest.raises(NotAllowed):
        make_agent(member=member, name="mine", kind=InviteKind.BIND, request_id=uuid4(), now=timezone.now())
    assert state() == before


def test_without_our_form_no_agent_is_made(scene: Scene) -> None:
    client = signed_in(scene.admin, enforce_csrf_checks=True)
    assert client.post("/agents/new", {"name": "mine", "kind": "bind"}).status_code == 403
    assert not Agent.objects.filter(name="mine").exists()
