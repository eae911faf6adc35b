"""/notifications: what is shown, what each button does, for whom, and what strangers see."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus, Member
from audit.models import AuditEvent
from notifications.models import AgentReport, Notification, UninstallRequest
from platforms.asks import AccessRequest, Registration
from platforms.models import Grant, Scope
from tests.pages import asks
from tests.pages.asks import told
from tests.pages.scene import Scene, make_scene, signed_in
from tests.pages.spoofs import SPOOFS, Spoof
from tests.world import make_connection

CLEAR = "✓ All clear — nothing needs attention."
WRITE = "acme-chat:chat:write"


def page(client: Client, path: str = "/notifications") -> str:
    response = client.get(path)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.content.decode()


# What each button is pressed on, where it leads, and what it sends.
Make = Callable[[Scene], Model]
BUTTONS: list[tuple[Make, str, dict[str, str]]] = [
    (asks.register, "registrations/{}/approve", {"grant": WRITE, "ask": WRITE}),
    (asks.register, "registrations/{}/reject", {}),
    (lambda scene: asks.ask_access(scene, "chat:write"), "access/{}/approve", {"require_approval": "on"}),
    (asks.ask_access, "access/{}/deny", {}),
    (asks.ask_uninstall, "uninstalls/{}/approve", {}),
    (asks.ask_uninstall, "uninstalls/{}/keep", {}),
    (asks.report, "reports/{}/read", {}),
]
EVERY_BUTTON = pytest.mark.parametrize(("make", "path", "data"), BUTTONS, ids=[path for _, path, _ in BUTTONS])


def state() -> list[Any]:
    """Everything that a button may change."""
    rows: list[Any] = [AuditEvent.objects.count()]
    for model in (Agent, Grant, Registration, AccessRequest, UninstallRequest, AgentReport, Notification):
        rows.append(list(model.objects.order_by("pk").values()))
    return rows


def press(client: Client, path: str, row: Model, data: dict[str, Any] | None = None) -> Any:
    return client.post(f"/notifications/{path.format(row.pk)}", data or {})


@EVERY_BUTTON
def test_an_admin_presses_every_button_once(
    scene: Scene, admin: Client, make: Make, path: str, data: dict[str, str]
) -> None:
    row = make(scene)
    assert ">1 waiting<" in page(admin)
    before = AuditEvent.objects.count()
    assert press(admin, path, row, data).status_code == 303
    assert AuditEvent.objects.filter(actor_kind="member").count() > 0
    assert AuditEvent.objects.count() > before
    assert CLEAR in page(admin)
    left = state()
    again = press(admin, path, row, data)
    assert again.status_code == 303  # told who was first, nothing else
    assert state() == left


@EVERY_BUTTON
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_others_read_only(scene: Scene, make: Make, path: str, data: dict[str, str], role: str) -> None:
    row = make(scene)
    member: Member = getattr(scene, role)
    html = page(signed_in(member))
    assert ">1 waiting<" in html
    assert "Only an admin answers these." in html
    assert 'type="submit"' not in html.split("<main", 1)[1]
    before = state()
    response = press(signed_in(member), path, row, data)
    assert response.status_code == 403
    assert "You may not do this" in response.content.decode()
    assert state() == before


@EVERY_BUTTON
def test_a_stranger_finds_nothing(scene: Scene, stranger: Client, make: Make, path: str, data: dict[str, str]) -> None:
    row = make(scene)
    before = state()
    assert CLEAR in page(stranger)
    assert press(stranger, path, row, data).status_code == 404
    assert state() == before
    missing = stranger.post(f"/notifications/{path.format(uuid4())}", data)
    assert missing.status_code == 404


@EVERY_BUTTON
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_only_a_post_changes_anything(
    scene: Scene, admin: Client, make: Make, path: str, data: dict[str, str], method: str
) -> None:
    row = make(scene)
    before = state()
    assert getattr(admin, method)(f"/notifications/{path.format(row.pk)}").status_code == 405
    assert state() == before


@EVERY_BUTTON
def test_without_our_form_nothing_happens(scene: Scene, make: Make, path: str, data: dict[str, str]) -> None:
    row = make(scene)
    before = state()
    client = signed_in(scene.admin, enforce_csrf_checks=True)
    assert press(client, path, row, data).status_code == 403
    assert state() == before


@EVERY_BUTTON
def test_looking_changes_nothing(scene: Scene, admin: Client, make: Make, path: str, data: dict[str, str]) -> None:
    make(scene)
    before = state()
    for address in ("/notifications", "/agent-reports", "/agents", "/agents?tab=pending"):
        page(admin, address)
        admin.head(address)
    assert state() == before


def test_nothing_to_answer(scene: Scene, admin: Client) -> None:
    html = page(admin)
    assert "<title>Notifications · AgentValet</title>" in html
    assert CLEAR in html
    assert "<span>Notifications</span>\n" in html  # no count


def test_the_menu_counts_on_every_page(scene: Scene, admin: Client) -> None:
    asks.register(scene)
    asks.ask_access(scene)
    asks.ask_uninstall(scene)
    asks.report(scene)
    scene.submit({"n": 1})
    for path in ("/notifications", "/approvals", "/agents", f"/agents/{scene.agent.pk}", "/agent-reports"):
        html = page(admin, path)
        assert '<span class="nav-count">4<span class="visually-hidden"> waiting</span></span>' in html, path
        assert re.search(r"data-pending-count >1</span>", html), path


# --- Registrations
def test_a_registration_shows_what_the_program_says_and_asks_for(scene: Scene, admin: Client) -> None:
    asked = [
        {"platform": "acme-chat", "scopes": ["chat:write", "chat:nothing"]},
        {"platform": "stripe", "scopes": ["refunds:write"]},
    ]
    asks.register(scene, "Release bot", requested=asked, description="Announces releases", address="192.0.2.44")
    html = page(admin)
    for shown in ("Release bot", "Announces releases", "192.0.2.44", "acme-chat:chat:nothing", "stripe:refunds:write"):
        assert shown in html, shown
    assert html.count('name="grant"') == 1
    assert f'name="grant" value="{WRITE}" checked' in html
    assert f'name="ask" value="{WRITE}" checked' in html
    assert "Require human approval per request" in html
    assert "Approve with 1 platform<" in html
    assert re.search(r"expires in (9|10)\s+minutes", html)


@pytest.mark.parametrize(
    ("platforms", "label"), [(0, "Approve with 0 platforms<"), (1, "1 platform<"), (2, "Approve with 2 platforms<")]
)
def test_the_button_counts_platforms(scene: Scene, admin: Client, platforms: int, label: str) -> None:
    for n in range(platforms):
        scope = {"read": ["GET /**"], "write": ["POST /**"]}
        scene.add_platform(f"p{n}", base_url="https://p.example", connection="c", scopes=scope)
    asks.register(scene, requested=[{"platform": f"p{n}", "scopes": ["read", "write"]} for n in range(platforms)])
    assert label in page(admin)


def test_a_platform_without_scopes_offers_all_of_them_and_picks_none(scene: Scene, admin: Client) -> None:
    asks.register(scene, requested=[{"platform": "acme-chat", "scopes": []}])
    html = page(admin)
    assert f'name="grant" value="{WRITE}">' in html
    assert "Approve with 0 platforms<" in html


def test_approving_makes_the_agent_with_what_was_ticked(scene: Scene, admin: Client) -> None:
    asks.add_scope(scene)
    asked = [{"platform": "acme-chat", "scopes": ["chat:write", "chat:admin"]}]
    row = asks.register(scene, "Release bot", requested=asked)
    data = {"grant": [WRITE, "acme-chat:chat:admin"], "ask": [WRITE]}
    response = press(admin, "registrations/{}/approve", row, data)
    agent = Agent.objects.get(name="Release bot")
    html = told(admin, response, at=f"/agents/{agent.pk}")
    assert "Release bot is an agent now, with 2 permissions." in html
    assert agent.status == AgentStatus.ACTIVE
    held = {grant.scope.name: grant.require_approval for grant in Grant.objects.filter(agent=agent)}
    assert held == {"chat:write": True, "chat:admin": False}


def test_approving_grants_nothing_by_itself(scene: Scene, admin: Client) -> None:
    row = asks.register(scene)
    press(admin, "registrations/{}/approve", row)
    assert not Grant.objects.filter(agent__name="newcomer").exists()


NO_SCOPES = [
    "",
    "acme-chat",
    "acme-chat:",
    ":chat:write",
    "acme-chat:nothing",
    "other:chat:write",
    "A:b",
    "a:b\0",
    "é:b",
]


@pytest.mark.parametrize("value", [*NO_SCOPES, "acme-chat:" + "x" * 129, "x" * 64 + ":y"])
def test_a_box_that_we_never_drew_approves_nothing(scene: Scene, admin: Client, value: str) -> None:
    row = asks.register(scene)
    before = state()
    html = told(admin, press(admin, "registrations/{}/approve", row, {"grant": [WRITE, value]}))
    assert "There is no " in html
    assert state() == before


def test_scopes_of_another_owner_cannot_be_granted(scene: Scene, admin: Client) -> None:
    other = make_scene("Other")
    other.add_platform("theirs", base_url="https://t.example", connection="c", scopes={"read": ["GET /**"]})
    row = asks.register(scene, requested=[{"platform": "theirs", "scopes": ["read"]}])
    assert 'name="grant"' not in page(admin)
    assert "There is no scope" in told(admin, press(admin, "registrations/{}/approve", row, {"grant": "theirs:read"}))
    assert not Agent.objects.filter(name="newcomer").exists()


def test_a_registration_that_ran_out_is_neither_shown_nor_decided(scene: Scene, admin: Client) -> None:
    row = asks.register(scene, now=timezone.now() - timedelta(minutes=10, seconds=1))
    assert CLEAR in page(admin)
    html = told(admin, press(admin, "registrations/{}/approve", row))
    assert "Too late: it had run out. Nothing was changed." in html
    assert not Agent.objects.filter(name="newcomer").exists()


def test_who_comes_second_is_told_who_was_first(scene: Scene, admin: Client) -> None:
    row = asks.register(scene)
    press(admin, "registrations/{}/reject", row)
    html = told(admin, press(admin, "registrations/{}/approve", row))
    assert re.search(r"Already rejected by admin@acme\.example at \d\d:\d\d UTC\.", html)
    wish = asks.ask_access(scene, "chat:write")
    press(admin, "access/{}/approve", wish)
    assert "Already approved by admin@acme.example" in told(admin, press(admin, "access/{}/deny", wish))


def test_a_program_that_asks_for_very_much_fits_on_the_page(scene: Scene, admin: Client) -> None:
    scope = scene.owner.platforms.get().scopes.get()
    Scope.objects.bulk_create(Scope(platform=scope.platform, name=f"s{n}", rules=[]) for n in range(300))
    asked = [{"platform": "acme-chat", "scopes": [f"s{n}" for n in range(300)] + [f"none{n}" for n in range(50)]}]
    row = asks.register(scene, requested=asked)
    html = page(admin)
    assert html.count('name="grant"') == 200
    assert "… cut, 130 more scopes asked for" in html
    boxes = re.findall(r'name="grant" value="([^"]+)"', html)
    press(admin, "registrations/{}/approve", row, {"grant": boxes, "ask": boxes})
    assert Grant.objects.filter(agent__name="newcomer").count() == 200


# --- Access requests
@pytest.mark.parametrize("asks_first", [True, False])
def test_approving_access_grants_the_scope_as_ticked(scene: Scene, admin: Client, asks_first: bool) -> None:
    asks.add_scope(scene)
    wish = asks.ask_access(scene, "chat:admin", reason="To tidy up")
    html = page(admin)
    assert "To tidy up" in html
    assert 'name="require_approval" checked' in html
    said = told(admin, press(admin, "access/{}/approve", wish, {"require_approval": "on"} if asks_first else {}))
    assert "deploy-bot may use acme-chat / chat:admin from now on" in said
    assert asks.grant(scene, "chat:admin").require_approval is asks_first


def test_a_wish_without_a_scope_lets_the_owner_choose(scene: Scene, admin: Client) -> None:
    asks.add_scope(scene)
    wish = asks.ask_access(scene, "")
    html = page(admin)
    assert "<option>chat:admin</option><option>chat:write</option>" in html
    assert "There is no scope" in told(admin, press(admin, "access/{}/approve", wish))
    press(admin, "access/{}/approve", wish, {"scope": "chat:admin"})
    assert asks.grant(scene, "chat:admin")


def test_what_the_owner_does_not_have_can_only_be_denied(scene: Scene, admin: Client) -> None:
    wish = asks.ask_access(scene, "read", platform="airtable")
    html = page(admin)
    assert "there is nothing to grant yet" in html
    assert f"/notifications/access/{wish.pk}/deny" in html
    assert ">Approve<" not in html
    assert "There is no scope read on airtable." in told(admin, press(admin, "access/{}/approve", wish))


@pytest.mark.parametrize("scope", ["\0", "x" * 129, "<b>", "a b", "nothing"])
def test_a_scope_that_is_none_grants_nothing(scene: Scene, admin: Client, scope: str) -> None:
    wish = asks.ask_access(scene, "")
    before = state()
    told(admin, press(admin, "access/{}/approve", wish, {"scope": scope}))
    assert state() == before


def test_a_card_says_what_the_agent_holds_already_and_approving_keeps_it(scene: Scene, admin: Client) -> None:
    sandbox = make_connection(scene.platform, "tok-sandbox", label="Sand\u202ebox", default=False)
    end = timezone.now() + timedelta(hours=1)
    Grant.objects.filter(agent=scene.agent).update(connection=sandbox, expires_at=end)
    wish = asks.ask_access(scene, "chat:write")
    html = " ".join(page(admin).split())
    assert re.search(r"Holds now: <code>chat:write</code> on the connection <b>.*?Sand.*?box.*?</b> only, until", html)
    assert "\u202e" not in html
    assert f"{end:%Y-%m-%d %H:%M} UTC" in html
    assert "Approving keeps the connection and the end; change them on the agent’s page." in html
    press(admin, "access/{}/approve", wish, {})
    held = Grant.objects.get(agent=scene.agent)
    assert (held.connection, held.expires_at, held.require_approval) == (sandbox, end, False)


def test_a_card_says_nothing_of_what_other_agents_hold(scene: Scene, admin: Client) -> None:
    other = scene.add_agent("other-bot")
    Grant.objects.filter(agent=scene.agent).update(revoked_at=timezone.now())
    asks.ask_access(scene, "chat:write")
    assert "Holds now" not in page(admin)
    asks.ask_access(scene, "chat:write", agent=other)
    assert page(admin).count("Holds now: <code>chat:write</code> on any connection, without an end") == 1


def test_wishes_of_a_revoked_agent_are_not_asked_any_more(scene: Scene, admin: Client) -> None:
    asks.ask_access(scene)
    asks.ask_uninstall(scene)
    Agent.objects.filter(pk=scene.agent.pk).update(status=AgentStatus.REVOKED)
    assert CLEAR in page(admin)


def test_more_than_a_page_is_counted_and_said(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.desk.MOST", 2)
    for n in range(5):
        asks.ask_access(scene, f"scope{n}")
    html = page(admin)
    assert "5 waiting" in html
    assert html.count("desk-card") == 2
    assert "3 more are waiting." in html


# --- Uninstalls
def test_approving_an_uninstall_revokes_the_agent_and_its_children(scene: Scene, admin: Client) -> None:
    asks.add_child(scene)
    wish = asks.ask_uninstall(scene, reason="CLI uninstall")
    assert "CLI uninstall" in page(admin)
    html = told(admin, press(admin, "uninstalls/{}/approve", wish))
    assert "deploy-bot and its 1 child agent revoked for good." in html
    assert set(Agent.objects.values_list("status", flat=True)) == {AgentStatus.REVOKED}


def test_keeping_it_leaves_it_as_it_is(scene: Scene, admin: Client) -> None:
    wish = asks.ask_uninstall(scene)
    assert "deploy-bot stays as it is." in told(admin, press(admin, "uninstalls/{}/keep", wish))
    assert Agent.objects.get().status == AgentStatus.ACTIVE


# --- What agents write
@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: spoof.name)
def test_whatever_an_agent_writes_is_shown_for_what_it_is(scene: Scene, admin: Client, spoof: Spoof) -> None:
    text = spoof.text
    Agent.objects.filter(pk=scene.agent.pk).update(name=text[:200], description=text)
    scene.agent.refresh_from_db()
    asks.register(scene, text, description=text)
    asks.ask_access(scene, reason=text)
    asks.ask_uninstall(scene, reason=text)
    asks.report(scene, text, code=text, platform=text, endpoint=text, context=text)
    for path in ("/notifications", "/agent-reports", "/agents", "/agents?tab=pending", f"/agents/{scene.agent.pk}"):
        html = re.sub(r"(\d)\xa0", r"\1 ", page(admin, path))  # as in "expires in 9 minutes"
        assert spoof.shown in html, path
        assert spoof.hidden not in html, path
