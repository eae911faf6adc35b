"""The permissions on an agent's page: the switch, the connection, the end, and what is revoked."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from platforms.models import Connection, Grant
from tests.pages import asks
from tests.pages.asks import told
from tests.pages.scene import Scene, make_scene
from tests.pages.test_agents import page, state


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_switch_says_what_it_switches_to(scene: Scene, admin: Client, value: str) -> None:
    held = asks.grant(scene)
    Grant.objects.filter(pk=held.pk).update(require_approval=value == "0")
    address = f"/agents/{scene.agent.pk}"
    assert f'name="require_approval" value="{value}"' in page(admin, address)
    html = told(admin, admin.post(f"{address}/permissions/{held.pk}/approval", {"require_approval": value}), at=address)
    assert asks.grant(scene).require_approval is (value == "1")
    assert ("waits for a person" if value == "1" else "goes straight through") in html
    # pressed twice, by two people who saw the same page: it stays
    admin.post(f"{address}/permissions/{held.pk}/approval", {"require_approval": value})
    assert asks.grant(scene).require_approval is (value == "1")
    assert AuditEvent.objects.filter(event="permission.approval_toggle_changed").count() == 1


@pytest.mark.parametrize("value", ["", "2", "on", "\0", None])
def test_a_switch_to_nowhere_is_refused(scene: Scene, admin: Client, value: str | None) -> None:
    address = f"/agents/{scene.agent.pk}/permissions/{asks.grant(scene).pk}/approval"
    before = state()
    assert admin.post(address, {} if value is None else {"require_approval": value}).status_code == 400
    assert state() == before


def test_the_switch_leaves_connection_and_end_as_they_are(scene: Scene, admin: Client) -> None:
    held, connection = asks.grant(scene), Connection.objects.get()
    end = timezone.now() + timedelta(days=1)
    Grant.objects.filter(pk=held.pk).update(connection=connection, expires_at=end)
    admin.post(f"/agents/{scene.agent.pk}/permissions/{held.pk}/approval", {"require_approval": "0"})
    after = asks.grant(scene)
    assert (after.connection_id, after.expires_at, after.require_approval) == (connection.pk, end, False)


def test_what_there_is_no_choice_about_is_chosen(scene: Scene, admin: Client) -> None:
    address = f"/agents/{scene.agent.pk}"
    one = page(admin, address)
    assert 'value="acme-chat:chat:write" required checked>' in one
    assert "Keep as it is" not in one  # no permission has an end
    asks.add_scope(scene)
    Grant.objects.update(expires_at=timezone.now() + timedelta(days=1))
    two = page(admin, address)
    assert "required checked>" not in two
    assert '<option value="">Keep as it is</option>' in two


@pytest.mark.parametrize("asks_first", [True, False])
@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_permission_is_added_as_chosen(scene: Scene, admin: Client, asks_first: bool, is_pinned: bool) -> None:
    asks.add_scope(scene)
    connection = Connection.objects.get()
    data = {"scope": "acme-chat:chat:admin", "connection": str(connection.pk) if is_pinned else ""}
    if asks_first:
        data["require_approval"] = "on"
    address = f"/agents/{scene.agent.pk}"
    assert "acme-chat / chat:admin granted." in told(admin, admin.post(f"{address}/permissions", data), at=address)
    made = asks.grant(scene, "chat:admin")
    assert (made.require_approval, made.connection_id) == (asks_first, connection.pk if is_pinned else None)


BAD_CHOICES = [
    {}, {"scope": ""}, {"scope": "acme-chat:nothing"}, {"scope": "\0"}, {"scope": "x" * 10_000},
    {"scope": "acme-chat:chat:write", "connection": "x"},
    {"scope": "acme-chat:chat:write", "connection": "00000000-0000-4000-8000-000000000000"},
    {"scope": "acme-chat:chat:write", "connection": "\0"},
    {"scope": "acme-chat:chat:write", "ends": "25"},
    {"scope": "acme-chat:chat:write", "expires_at": "tomorrow"},
]  # fmt: skip


@pytest.mark.parametrize("data", BAD_CHOICES, ids=range(len(BAD_CHOICES)))
def test_what_no_form_of_ours_offers_is_not_granted(scene: Scene, admin: Client, data: dict[str, str]) -> None:
    address = f"/agents/{scene.agent.pk}"
    before = state()
    assert "Choose one of the scopes" in told(admin, admin.post(f"{address}/permissions", data), at=address)
    assert state() == before


WEEK = timedelta(days=7)


@pytest.mark.parametrize("held", [None, WEEK], ids=["endless", "ends in a week"])
@pytest.mark.parametrize(
    ("sent", "span"),
    [({}, "held"), ({"ends": ""}, "held"), ({"ends": "never"}, None), ({"ends": "24"}, timedelta(days=1))],
    ids=str,
)
def test_a_permission_given_anew_keeps_its_end_or_gets_the_one_chosen(
    scene: Scene, admin: Client, held: timedelta | None, sent: dict[str, str], span: timedelta | str | None
) -> None:
    now = timezone.now()
    end = now + held if held else None
    Grant.objects.filter(pk=asks.grant(scene).pk).update(expires_at=end)
    address = f"/agents/{scene.agent.pk}"
    html = told(admin, admin.post(f"{address}/permissions", {"scope": "acme-chat:chat:write"} | sent), at=address)
    after = asks.grant(scene).expires_at
    if isinstance(span, timedelta):
        assert after is not None
        assert timedelta(0) <= after - now - span < timedelta(minutes=5)
    else:
        assert after == (end if span == "held" else None)
    until = f" until {after:%Y-%m-%d %H:%M} UTC" if after else ""
    assert f"acme-chat / chat:write granted{until}." in html
    assert (f'until <time datetime="{after:%Y-%m-%dT%H:%M}' in html) if after else ("until <time" not in html)


def test_what_is_given_back_has_its_end_and_one_that_is_past_is_no_end(scene: Scene, admin: Client) -> None:
    held, end = asks.grant(scene), timezone.now() + WEEK
    Grant.objects.filter(pk=held.pk).update(expires_at=end)
    address = f"/agents/{scene.agent.pk}"
    html = admin.get(admin.post(f"{address}/permissions/{held.pk}/revoke")["Location"]).content.decode()
    sent = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html.split('class="notice undo"')[1]))
    admin.post(f"{address}/permissions", sent)
    assert asks.grant(scene).expires_at == end
    Grant.objects.filter(revoked_at=None).update(expires_at=timezone.now() - WEEK)
    before = state()
    for late in ({}, {"expires_at": "2026-01-01T00:00:00+00:00"}):
        response = admin.post(f"{address}/permissions", {"scope": "acme-chat:chat:write"} | late)
        assert "The end of acme-chat / chat:write is past: choose another one." in told(admin, response, at=address)
    assert state() == before


def test_a_connection_of_another_platform_does_not_go_with_the_scope(scene: Scene, admin: Client) -> None:
    scene.add_platform("github", base_url="https://g.example", connection="org", scopes={"read": ["GET /**"]})
    address = f"/agents/{scene.agent.pk}"
    pin = str(Connection.objects.get(label="org").pk)
    before = state()
    response = admin.post(f"{address}/permissions", {"scope": "acme-chat:chat:write", "connection": pin})
    assert "There is no such connection of acme-chat." in told(admin, response, at=address)
    assert state() == before


def test_scopes_and_connections_of_another_owner_are_not_offered(scene: Scene, admin: Client) -> None:
    other = make_scene("Other")
    other.add_platform("theirs", base_url="https://t.example", connection="their org", scopes={"read": ["GET /**"]})
    html = page(admin, f"/agents/{scene.agent.pk}")
    assert "theirs" not in html
    assert "their org" not in html


def test_a_revoked_permission_is_gone_for_children_too(scene: Scene, admin: Client) -> None:
    child = asks.add_child(scene)
    address = f"/agents/{scene.agent.pk}"
    response = admin.post(f"{address}/permissions/{asks.grant(scene).pk}/revoke")
    assert "acme-chat / chat:write revoked." in told(admin, response, at=address)
    for agent in (scene.agent, child):
        assert not Grant.objects.for_agent(agent.pk).current(timezone.now()).exists()
