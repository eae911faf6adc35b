"""/agents: who there is, what one may do, what each button does, for whom, and secrets that are shown once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents import lifecycle
from agents.enrolment import add_key
from agents.models import Agent, AgentKey, AgentStatus, Invite
from audit.models import AuditEvent
from platforms.models import Grant
from tests.pages import asks
from tests.pages.asks import told
from tests.pages.scene import Scene, signed_in
from tests.world import public_key

SECRET = re.compile(r"(?:itok|bsec)_[\w-]{43}")


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.content.decode()


def status_of(agent: Agent) -> str:
    return Agent.objects.get(pk=agent.pk).status


def state() -> list[Any]:
    """Everything that a button may change."""
    rows: list[Any] = [AuditEvent.objects.count()]
    for model in (Agent, AgentKey, Grant, Invite):
        rows.append(list(model.objects.order_by("pk").values()))
    return rows


# What each button leads to, what it sends, the event it leaves, and the status the agent has to have before.
BUTTONS: list[tuple[str, dict[str, str], str, AgentStatus]] = [
    ("suspend", {"reason": "odd calls"}, "agent.suspended", AgentStatus.ACTIVE),
    ("reactivate", {}, "agent.reactivated", AgentStatus.SUSPENDED),
    ("delete", {"name": "deploy-bot"}, "agent.deleted", AgentStatus.ACTIVE),
    ("install-token", {}, "agent.invited", AgentStatus.ACTIVE),
    ("bind-code", {}, "agent.invited", AgentStatus.ACTIVE),
    ("permissions", {"scope": "acme-chat:chat:admin"}, "permission.granted", AgentStatus.ACTIVE),
    ("permissions/{}/approval", {"require_approval": "0"}, "permission.approval_toggle_changed", AgentStatus.ACTIVE),
    ("permissions/{}/revoke", {}, "permission.revoked", AgentStatus.ACTIVE),
]
EVERY_BUTTON = pytest.mark.parametrize(("path", "data", "event", "status"), BUTTONS, ids=[row[0] for row in BUTTONS])


def ready(scene: Scene, path: str, status: AgentStatus) -> str:
    """The address of the button, with everything it needs there."""
    asks.add_scope(scene)
    Agent.objects.filter(pk=scene.agent.pk).update(status=status)
    return f"/agents/{scene.agent.pk}/{path.format(asks.grant(scene).pk)}"


@EVERY_BUTTON
def test_an_admin_presses_every_button(
    scene: Scene, admin: Client, path: str, data: dict[str, str], event: str, status: AgentStatus
) -> None:
    address = ready(scene, path, status)
    assert f'action="{address}"' in page(admin, f"/agents/{scene.agent.pk}")
    response = admin.post(address, data)
    if event != "agent.invited":
        told(admin, response, at=f"/agents/{scene.agent.pk}")
    row = AuditEvent.objects.get(event=event)
    assert (row.actor_kind, row.actor_label, row.agent_id) == ("member", "admin@acme.example", scene.agent.pk)


@EVERY_BUTTON
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_others_read_only(
    scene: Scene, path: str, data: dict[str, str], event: str, status: AgentStatus, role: str
) -> None:
    address = ready(scene, path, status)
    client = signed_in(getattr(scene, role))
    html = page(client, f"/agents/{scene.agent.pk}").split("<main", 1)[1]
    assert 'method="post"' not in html
    assert "chat:write" in html
    before = state()
    response = client.post(address, data)
    assert response.status_code == 403
    assert "You may not do this" in response.content.decode()
    assert state() == before


@EVERY_BUTTON
def test_a_stranger_finds_nothing(
    scene: Scene, stranger: Client, path: str, data: dict[str, str], event: str, status: AgentStatus
) -> None:
    address = ready(scene, path, status)
    before = state()
    assert stranger.get(f"/agents/{scene.agent.pk}").status_code == 404
    assert stranger.post(address, data).status_code == 404
    assert state() == before


@EVERY_BUTTON
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_only_a_post_changes_anything(
    scene: Scene, admin: Client, path: str, data: dict[str, str], event: str, status: AgentStatus, method: str
) -> None:
    address = ready(scene, path, status)
    before = state()
    assert getattr(admin, method)(address).status_code == 405
    page(admin, f"/agents/{scene.agent.pk}")
    page(admin, "/agents/new")
    assert state() == before


@EVERY_BUTTON
def test_without_our_form_nothing_happens(
    scene: Scene, path: str, data: dict[str, str], event: str, status: AgentStatus
) -> None:
    address = ready(scene, path, status)
    before = state()
    assert signed_in(scene.admin, enforce_csrf_checks=True).post(address, data).status_code == 403
    assert state() == before


# --- The list
def test_the_list_says_who_there_is_and_how_they_are(scene: Scene, admin: Client) -> None:
    Agent.objects.filter(pk=scene.agent.pk).update(last_seen_at=timezone.now() - timedelta(minutes=5, seconds=1))
    idle = scene.add_agent("idle")
    lifecycle.suspend(member=scene.admin, agent_id=idle.pk, **asks.moment())
    asks.add_child(scene)
    html = page(admin, "/agents")
    assert "<title>Agents · AgentValet</title>" in html
    for shown in ("deploy-bot", scene.agent.pk, ">Active<", "idle", ">Suspended<", "Never"):
        assert shown in html, shown
    assert re.search(r"5\s+minutes ago", html)
    assert "helper" not in html  # a child is on its parent's page


def test_the_pending_tab_has_a_red_count_and_the_programs_that_wait(scene: Scene, admin: Client) -> None:
    html = page(admin, "/agents")
    assert "Pending Approval</a>" in html
    asks.register(scene, "Release bot")
    html = page(admin, "/agents")
    assert 'Pending Approval <span class="tab-count">1</span></a>' in html
    assert "Release bot" not in html
    html = page(admin, "/agents?tab=pending")
    assert "Release bot" in html
    assert "Approve with 1 platform" in html
    assert "deploy-bot" not in html


def test_a_strangers_list_has_only_the_strangers(scene: Scene, stranger: Client) -> None:
    scene.add_agent("ours")
    asks.register(scene, "Release bot")
    assert "ours" not in page(stranger, "/agents")
    assert "Release bot" not in page(stranger, "/agents?tab=pending")


def test_many_agents_come_page_by_page(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.agent_views.AGENTS_PER_PAGE", 2)
    names = ["a & b", "Ärger", "z", "c?d=1", "deploy-bot"]
    for name in set(names) - {"deploy-bot"}:
        scene.add_agent(name)
    seen: list[str] = []
    path = "/agents"
    while path:
        html = page(admin, path)
        seen += re.findall(r'row-name"><a href="/agents/(agt_\w+)"', html)
        link = re.search(r'href="([^"]+)">Next page<', html)
        path = link[1] if link else ""
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize("query", ["after=%00", "after=" + "x" * 5000, "tab=nothing", "after=%FF"])
def test_nonsense_in_the_address_is_no_error(scene: Scene, admin: Client, query: str) -> None:
    assert admin.get(f"/agents?{query}").status_code == 200


@pytest.mark.parametrize("agent_id", ["agt_0", "x", "agt_" + "0" * 5000, "agt_%00", "..", "agt_é"])
@pytest.mark.parametrize("button", ["", "/suspend", "/install-token", "/permissions/1/revoke", "/permissions/x/revoke"])
def test_an_agent_that_is_not_there_is_a_404(scene: Scene, admin: Client, agent_id: str, button: str) -> None:
    address = f"/agents/{agent_id}{button}"
    assert (admin.post(address) if button else admin.get(address)).status_code == 404


@pytest.mark.parametrize("grant_id", ["0", "99999999999999999999999", "-1"])
def test_a_permission_that_is_not_there_is_a_404(scene: Scene, admin: Client, grant_id: str) -> None:
    address = f"/agents/{scene.agent.pk}/permissions/{grant_id}"
    assert admin.post(f"{address}/approval", {"require_approval": "1"}).status_code == 404
    assert admin.post(f"{address}/revoke").status_code == 404


# --- One agent
def test_the_page_of_an_agent_says_everything_about_it(scene: Scene, admin: Client) -> None:
    now = timezone.now()
    first, _ = add_key(agent=scene.agent, pem=public_key("first"))
    second, _ = add_key(agent=scene.agent, pem=public_key("second"))
    AgentKey.objects.filter(pk=first.pk).update(retired_at=now + timedelta(minutes=30))
    child = asks.add_child(scene)
    html = page(admin, f"/agents/{scene.agent.pk}")
    for shown in (
        "deploy-bot", scene.agent.pk, "Active", first.thumbprint, "signs until", second.thumbprint, "signs since",
        "acme-chat", "chat:write", 'aria-checked="true"', ">Any<", "helper", f"/agents/{child.pk}",
    ):  # fmt: skip
        assert shown in html, shown
    assert re.search(r"ends in 1[45]\s+minutes", html)


def test_an_agent_without_anything_is_told_plainly(scene: Scene, admin: Client) -> None:
    AgentKey.objects.all().delete()
    Grant.objects.all().delete()
    html = page(admin, f"/agents/{scene.agent.pk}")
    for shown in ("Every call of this agent is refused.", "the agent cannot call until", "None at the moment."):
        assert shown in html, shown


def test_the_page_of_a_child_reads_only_what_its_parent_gave_it(scene: Scene, admin: Client) -> None:
    child = asks.add_child(scene)
    address = f"/agents/{child.pk}"
    html = page(admin, address)
    assert "Child of" in html
    assert "chat:write" in html
    for missing in ("Add permission", "install-token", "bind-code", "/permissions"):
        assert missing not in html, missing
    held = asks.grant(scene, agent=child)
    before = state()
    for button, data in (
        (f"permissions/{held.pk}/approval", {"require_approval": "0"}),
        (f"permissions/{held.pk}/revoke", {}),
        ("permissions", {"scope": "acme-chat:chat:write"}),
    ):
        assert "A child agent has what its parent gave it" in told(
            admin, admin.post(f"{address}/{button}", data), at=address
        )
    assert admin.post(f"{address}/install-token").status_code == 404
    assert state() == before
    told(admin, admin.post(f"{address}/suspend"), at=address)
    assert (status_of(child), status_of(scene.agent)) == (AgentStatus.SUSPENDED, AgentStatus.ACTIVE)


def test_what_does_not_count_says_why(scene: Scene, admin: Client) -> None:
    child = asks.add_child(scene)
    held = asks.grant(scene)
    Grant.objects.filter(pk=held.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "Does not count now: it has run out." in page(admin, f"/agents/{scene.agent.pk}")
    assert "Does not count now: its parent has lost it." in page(admin, f"/agents/{child.pk}")
    scene.owner.platforms.update(suspended_at=timezone.now())
    assert "Does not count now: the platform is suspended." in page(admin, f"/agents/{scene.agent.pk}")


def test_another_agents_permission_is_not_reached_through_this_one(scene: Scene, admin: Client) -> None:
    other = scene.add_agent("other")
    held = asks.grant(scene, agent=other)
    before = state()
    assert admin.post(f"/agents/{scene.agent.pk}/permissions/{held.pk}/revoke").status_code == 404
    assert state() == before


# --- Its life
def test_suspending_keeps_the_reason_for_the_owner(scene: Scene, admin: Client) -> None:
    child = asks.add_child(scene)
    address = f"/agents/{scene.agent.pk}"
    html = told(admin, admin.post(f"{address}/suspend", {"reason": "odd calls"}), at=address)
    assert "deploy-bot is suspended: its next call is refused." in html
    assert ">Reactivate<" in html
    assert ">Suspend<" not in html
    assert {status_of(scene.agent), status_of(child)} == {AgentStatus.SUSPENDED}
    assert AuditEvent.objects.get(event="agent.suspended", agent_id=scene.agent.pk).reason == "odd calls"


@pytest.mark.parametrize("reason", ["x" * 501, "\0", "x" * 500])
def test_a_reason_that_does_not_fit_does_not_stop_the_suspension(scene: Scene, admin: Client, reason: str) -> None:
    admin.post(f"/agents/{scene.agent.pk}/suspend", {"reason": reason})
    assert status_of(scene.agent) == AgentStatus.SUSPENDED


def test_a_child_of_a_suspended_agent_cannot_be_reactivated_alone(scene: Scene, admin: Client) -> None:
    child = asks.add_child(scene)
    admin.post(f"/agents/{scene.agent.pk}/suspend")
    response = admin.post(f"/agents/{child.pk}/reactivate")
    assert "reactivate that one first" in told(admin, response, at=f"/agents/{child.pk}")


@pytest.mark.parametrize("typed", ["", "deploy", "Deploy-bot", "deploy-bot2", "\0", "x" * 300, None])
def test_without_the_right_name_nothing_is_deleted(scene: Scene, admin: Client, typed: str | None) -> None:
    address = f"/agents/{scene.agent.pk}"
    before = state()
    html = told(admin, admin.post(f"{address}/delete", {} if typed is None else {"name": typed}), at=address)
    assert "That is not the agent’s name. Nothing was changed." in html
    assert state() == before


@pytest.mark.parametrize("typed", ["deploy-bot", "  deploy-bot ", "{id}"])
def test_with_the_name_or_the_id_it_is_deleted_for_good(scene: Scene, admin: Client, typed: str) -> None:
    child = asks.add_child(scene)
    address = f"/agents/{scene.agent.pk}"
    html = told(admin, admin.post(f"{address}/delete", {"name": typed.format(id=scene.agent.pk)}), at=address)
    assert "deploy-bot and its 1 child agent deleted. What it did stays on record." in html
    assert 'method="post"' not in html.split("<main", 1)[1]
    assert {status_of(scene.agent), status_of(child)} == {AgentStatus.REVOKED}
    for button in ("suspend", "reactivate", "install-token", "bind-code"):
        assert "The agent is revoked" in told(admin, admin.post(f"{address}/{button}"), at=address)
    held = asks.grant(scene)
    response = admin.post(f"{address}/permissions/{held.pk}/approval", {"require_approval": "0"})
    assert "The agent is revoked" in told(admin, response, at=address)
