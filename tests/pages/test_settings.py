"""/settings: the own account, where it is signed in, how it looks, and what an admin sets for everybody."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents.cli import confirm_login, exchange_code
from agents.models import Agent, AgentStatus, CliToken, Owner
from agents.people_models import Session
from audit.models import AuditEvent
from tests.pages import asks
from tests.pages.scene import PASSWORD, Scene, make_scene, signed_in
from tests.world import make_member

NEW = "a quite different phrase"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def told(client: Client, response: Any) -> str:
    text = asks.told(client, response, at="/settings", status=302)
    return str(re.findall(r'<ul class="notices" role="status"><li[^>]*>(.*?)</li>', text)[0])


def events(scene: Scene) -> list[str]:
    return list(AuditEvent.objects.filter(owner_id=scene.owner.pk).order_by("seq").values_list("event", flat=True))


def page(client: Client) -> str:
    response = client.get("/settings")
    assert (response.status_code, "no-store" in response["Cache-Control"]) == (200, True)
    return response.content.decode()


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_everybody_has_the_cards_of_the_own_account(scene: Scene, role: str) -> None:
    text = page(signed_in(scene.members[role]))
    for heading in ("Profile", "Passkeys", "Where you are signed in", "Appearance", "Approval lifetime", "Owner ID"):
        assert heading in text
    assert str(scene.owner.pk) in text
    assert ("Suspend all agents" in text, "Save lifetime" in text) == (role == "admin", role == "admin")


# --- Profile


def test_a_name_is_one_printable_line_and_on_record(scene: Scene, admin: Client) -> None:
    assert admin.post("/settings/name", {"name": "  Ada\u202e\n <b>Lovelace "}).status_code == 302
    scene.admin.user.refresh_from_db()
    assert scene.admin.user.name == "Ada <b>Lovelace"
    assert "Ada &lt;b&gt;Lovelace" in page(admin)
    assert admin.post("/settings/name", {"name": "Ada <b>Lovelace"}).status_code == 302
    assert events(scene).count("member.profile_changed") == 1
    for bad in ("x" * 201, "\0"):
        assert admin.post("/settings/name", {"name": bad}).status_code == 400


def change(client: Client, password: str, again: str | None = None) -> Any:
    return client.post("/settings/password", {"password": password, "again": password if again is None else again})


def test_a_new_password_signs_everything_else_out(scene: Scene, admin: Client) -> None:
    elsewhere = signed_in(scene.admin)
    state = uuid4()
    code = confirm_login(member=scene.admin, state=state, now=timezone.now())
    exchange_code(state=state, code=code, request_id=uuid4(), now=timezone.now())
    approver = signed_in(scene.approver)
    assert change(admin, NEW).status_code == 302
    assert admin.get("/approvals").status_code == 200
    assert elsewhere.get("/approvals").status_code == 302
    assert approver.get("/approvals").status_code == 200
    assert not CliToken.objects.exists()
    assert Client().post("/sign-in", {"email": "admin@acme.example", "password": NEW}).status_code == 302
    assert Client().post("/sign-in", {"email": "admin@acme.example", "password": PASSWORD}).status_code == 200
    assert events(scene)[-4:-1] == ["member.password_changed", "member.sessions_ended", "member.signed_in"]
    assert NEW not in str(list(AuditEvent.objects.values_list("canonical", flat=True)))


@pytest.mark.parametrize(
    ("password", "again"),
    [
        ("short", None),
        ("password1234", None),
        ("admin@acme.example", None),
        ("", None),
        (NEW, "other"),
        ("\0" * 12, None),
    ],
)
def test_a_password_that_is_not_taken_changes_nothing(
    scene: Scene, admin: Client, password: str, again: str | None
) -> None:
    assert change(admin, password, again).status_code == 400
    scene.admin.user.refresh_from_db()
    assert scene.admin.user.check_password(PASSWORD)
    assert events(scene) == []


# --- Where one is signed in


def test_sessions_are_listed_with_device_network_and_the_current_one_marked(scene: Scene) -> None:
    here = signed_in(scene.admin)
    there = Client(REMOTE_ADDR="192.0.2.9", headers={"user-agent": FIREFOX})
    there.force_login(scene.admin.user)
    there.get("/approvals")
    signed_in(scene.approver).get("/approvals", headers={"user-agent": "Chrome/1 CrOS"})
    page(here)
    text = page(here)
    assert "Firefox on Linux" in text
    assert "192.0.2.9" in text
    assert "ChromeOS" not in text
    assert text.count('status-active">This browser<') == 1
    row = Session.objects.get(address="192.0.2.9")
    assert (row.user, row.device) == (scene.admin.user, "Firefox on Linux")


def test_being_seen_is_written_once_a_minute_and_touches_nothing_else(scene: Scene) -> None:
    client = signed_in(scene.admin)
    client.get("/approvals")
    first = Session.objects.get()
    client.get("/approvals")
    assert Session.objects.get().seen_at == first.seen_at
    Session.objects.update(seen_at=timezone.now() - timedelta(seconds=61))
    client.get("/approvals")
    last = Session.objects.get()
    assert first.seen_at is not None
    assert last.seen_at is not None
    assert last.seen_at > first.seen_at - timedelta(seconds=1)
    assert last.session_data == first.session_data


def test_another_browser_is_signed_out_at_once(scene: Scene, admin: Client) -> None:
    there = signed_in(scene.admin)
    there.get("/approvals", headers={"user-agent": FIREFOX})
    row = Session.objects.get(device="Firefox on Linux")
    assert told(admin, admin.post(f"/settings/sessions/{row.pk}/end")) == "That browser is signed out."
    assert there.get("/approvals").status_code == 302
    assert admin.get("/approvals").status_code == 200
    assert AuditEvent.objects.get(event="member.sessions_ended").metadata["device"] == "Firefox on Linux"


def test_nobody_ends_somebody_elses_session(scene: Scene, admin: Client, stranger: Client) -> None:
    admin.get("/approvals")
    row = Session.objects.get(user=scene.admin.user)
    for client in (stranger, signed_in(scene.approver)):
        for key in (row.pk, "x", "0" * 40):
            assert client.post(f"/settings/sessions/{key}/end").status_code == 404
    assert admin.get("/approvals").status_code == 200


def test_signing_out_everywhere_leaves_nothing_open_but_other_people(scene: Scene, admin: Client) -> None:
    elsewhere, approver = signed_in(scene.admin), signed_in(scene.approver)
    assert admin.post("/settings/sessions/end")["Location"] == "/sign-in"
    assert [one.get("/approvals").status_code for one in (admin, elsewhere, approver)] == [302, 302, 200]
    assert AuditEvent.objects.get(event="member.sessions_ended").metadata["browsers"] == 2


def test_ending_the_own_session_signs_out(admin: Client) -> None:
    admin.get("/approvals")
    (key,) = Session.objects.exclude(device="").values_list("pk", flat=True)
    assert admin.post(f"/settings/sessions/{key}/end")["Location"] == "/sign-in"
    assert admin.get("/approvals").status_code == 302


def test_a_command_line_is_listed_and_signed_out_by_its_person_alone(
    scene: Scene, admin: Client, stranger: Client
) -> None:
    state = uuid4()
    code = confirm_login(member=scene.admin, state=state, now=timezone.now())
    _, token = exchange_code(state=state, code=code, request_id=uuid4(), now=timezone.now())
    row = CliToken.objects.get()
    text = page(admin)
    assert "A command line" in text
    assert token not in text
    for client in (stranger, signed_in(scene.approver)):
        assert "A command line" not in page(client)
        assert client.post(f"/settings/command-lines/{row.pk}/end").status_code == 404
    bearer = {"Authorization": f"Bearer {token}"}
    assert Client().get("/functions/v1/list-agents", headers=bearer).status_code == 200
    admin.post(f"/settings/command-lines/{row.pk}/end")
    assert Client().get("/functions/v1/list-agents", headers=bearer).status_code == 401
    assert "member.cli_signed_out" in events(scene)


# --- Appearance


@pytest.mark.parametrize("theme", ["light", "dark", ""])
def test_a_theme_holds_for_every_page_of_this_browser(admin: Client, theme: str) -> None:
    admin.post("/settings/theme", {"theme": theme})
    marked = f'<html lang="en" data-theme="{theme}">' if theme else '<html lang="en">'
    assert marked in page(admin)
    assert marked in admin.get("/nothing-here").content.decode()
    admin.post("/sign-out")
    assert marked in admin.get("/sign-in").content.decode()


def test_a_theme_that_is_none_is_refused_and_an_invented_cookie_says_nothing(admin: Client) -> None:
    assert admin.post("/settings/theme", {"theme": 'dark" onload="x'}).status_code == 400
    admin.cookies["theme"] = "evil"
    assert '<html lang="en">' in page(admin)


# --- The owner's


def test_the_approval_lifetime_holds_for_calls_that_come_from_now_on(scene: Scene, admin: Client) -> None:
    before = scene.submit({"n": 1})
    assert before.expires_at - before.created_at == timedelta(minutes=10)
    assert admin.post("/settings/approval-lifetime", {"minutes": "45"}).status_code == 302
    after = scene.submit({"n": 2})
    assert after.expires_at - after.created_at == timedelta(minutes=45)
    before.refresh_from_db()
    assert before.expires_at - before.created_at == timedelta(minutes=10)
    assert 'value="45"' in page(admin)
    assert AuditEvent.objects.get(event="owner.changed").metadata["approval_lifetime"] == {"from": None, "to": 2700}
    other = make_scene("Other")
    assert other.submit({"n": 1}).expires_at - timezone.now() < timedelta(minutes=11)


@pytest.mark.parametrize("minutes", ["0", "721", "-1", "1.5", "", "x", "1e3", "9" * 30])
def test_a_lifetime_out_of_bounds_is_refused(scene: Scene, admin: Client, minutes: str) -> None:
    assert admin.post("/settings/approval-lifetime", {"minutes": minutes}).status_code == 400
    assert Owner.objects.get(pk=scene.owner.pk).approval_lifetime is None


def statuses(scene: Scene) -> dict[str, str]:
    return dict(Agent.objects.filter(owner=scene.owner).values_list("name", "status"))


def test_suspending_all_is_typed_and_undone_for_exactly_those_it_stopped(scene: Scene, admin: Client) -> None:
    other = make_scene("Other")
    second = scene.add_agent("second")
    scene.add_agent("child", parent=scene.agent)
    over = scene.add_agent("over", parent=scene.agent)
    third = scene.add_agent("third")
    admin.post(f"/agents/{third.pk}/suspend")
    for word in ("", "suspend", "SUSPEND ALL"):
        assert admin.post("/settings/agents/suspend", {"word": word}).status_code == 400
    assert set(statuses(scene).values()) == {"active", "suspended"}
    sentence = told(admin, admin.post("/settings/agents/suspend", {"word": " SUSPEND "}))
    assert sentence == "Suspended: 4 agents. The next call of each is refused."
    assert set(statuses(scene).values()) == {"suspended"}
    assert statuses(other) == {"deploy-bot": "active"}

    # Looked at since, one by one: these keep what a person has made of them.
    admin.post(f"/agents/{second.pk}/reactivate")
    admin.post(f"/agents/{second.pk}/suspend")
    Agent.objects.filter(pk=over.pk).update(expires_at=timezone.now())
    text = page(admin)
    (stopped_at,) = re.findall(r'name="stopped_at" value="([^"]+)"', text)
    assert (
        told(admin, admin.post("/settings/agents/reactivate", {"stopped_at": stopped_at})) == "Active again: 2 agents."
    )
    assert statuses(scene) == {
        "deploy-bot": "active",
        "child": "active",
        "over": "suspended",
        "second": "suspended",
        "third": "suspended",
    }
    again = admin.post("/settings/agents/reactivate", {"stopped_at": stopped_at})
    assert told(admin, again) == "Active again: 0 agents."
    assert events(scene).count("agent.reactivated") == 3


def test_the_undo_of_another_owners_press_changes_nothing(scene: Scene, admin: Client, stranger: Client) -> None:
    admin.post("/settings/agents/suspend", {"word": "SUSPEND"})
    stopped_at = Agent.objects.get(pk=scene.agent.pk).stopped_with_all_at
    assert stopped_at is not None
    stranger.post("/settings/agents/reactivate", {"stopped_at": stopped_at.isoformat()})
    assert statuses(scene) == {"deploy-bot": "suspended"}


@pytest.mark.parametrize("stopped_at", ["", "x", "2026-01-01", "2026-01-01T00:00:00", "9" * 39])
def test_an_undo_of_no_moment_is_a_bad_request(admin: Client, stopped_at: str) -> None:
    assert admin.post("/settings/agents/reactivate", {"stopped_at": stopped_at}).status_code == 400


def test_a_child_waits_for_its_parent(scene: Scene, admin: Client) -> None:
    scene.add_agent("child", parent=scene.agent)
    admin.post("/settings/agents/suspend", {"word": "SUSPEND"})
    stopped_at = Agent.objects.get(name="child").stopped_with_all_at
    assert stopped_at is not None
    Agent.objects.filter(pk=scene.agent.pk).update(stopped_with_all_at=None)  # as if suspended anew by hand
    admin.post("/settings/agents/reactivate", {"stopped_at": stopped_at.isoformat()})
    assert statuses(scene) == {"deploy-bot": "suspended", "child": "suspended"}


@pytest.mark.parametrize("role", ["approver", "auditor"])
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("approval-lifetime", {"minutes": "45"}),
        ("agents/suspend", {"word": "SUSPEND"}),
        ("agents/reactivate", {"stopped_at": "2026-01-01T00:00:00+00:00"}),
    ],
)
def test_only_an_admin_sets_things_for_everybody(scene: Scene, role: str, path: str, data: dict[str, str]) -> None:
    before = events(scene)
    assert signed_in(scene.members[role]).post(f"/settings/{path}", data).status_code == 403
    assert (events(scene), statuses(scene)) == (before, {"deploy-bot": AgentStatus.ACTIVE})


def test_who_belongs_to_two_owners_is_on_record_with_both(scene: Scene, admin: Client) -> None:
    other = make_scene("Other")
    second = make_member(other.owner, "both@acme.example", other.admin.role)  # type: ignore[arg-type]
    second.user.memberships.create(owner=scene.owner, role="auditor")
    signed_in(second).post("/settings/name", {"name": "Both"})
    assert "member.profile_changed" in events(scene)
    assert "member.profile_changed" in events(other)
