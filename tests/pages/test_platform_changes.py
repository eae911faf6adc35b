"""What is changed of a platform: several connections, disconnecting, its address, its scopes, and what that takes along."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import AgentStatus
from approvals import execution
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.destinations import DestinationChanged
from platforms.models import Connection, Grant, Scope
from platforms.stored_credentials import credential_of
from tests.pages import asks
from tests.pages.asks import told
from tests.pages.scene import Scene, signed_in
from tests.pages.test_connections import SECRET, html_of, may_call, state
from tests.world import CountingPlatform, make_connection, new_token


# --- Several connections
def test_one_default_whatever_is_pressed(scene: Scene, admin: Client) -> None:
    second = make_connection(scene.platform, new_token(), label="Second", default=False)
    admin.post(f"/connections/{second.pk}/change", {"label": "Second", "is_default": "on"})
    assert list(Connection.objects.filter(platform=scene.platform, is_default=True)) == [second]
    admin.post(f"/connections/{second.pk}/change", {"label": "Second"})
    assert "has to name one" in html_of(admin, "/platforms")
    assert "another connection of this label" in told(
        admin,
        admin.post(f"/connections/{second.pk}/change", {"label": "Main"}),
        at="/platforms/acme-chat",
    )


# --- Disconnecting
def test_disconnecting_says_who_loses_access_destroys_the_credential_and_can_be_undone(
    scene: Scene, admin: Client
) -> None:
    scene.add_agent("second")
    gone = scene.add_agent("gone")
    type(gone).objects.filter(pk=gone.pk).update(status=AgentStatus.REVOKED)
    asks.add_child(scene)
    address = f"/connections/{scene.connection.pk}/disconnect"
    html = html_of(admin, address)
    assert may_call(scene)
    agents = Grant.objects.current(timezone.now()).exclude(agent=gone).values("agent").distinct().count()
    assert f"{agents} agents lose access." in html
    assert f"{agents} agents lost access." in told(admin, admin.post(address), at="/platforms/acme-chat")
    assert not may_call(scene)
    assert not Connection.objects.filter(platform=scene.platform).exists()
    assert not Grant.objects.filter(scope__platform=scene.platform, revoked_at=None).exists()
    assert AuditEvent.objects.get(event="platform.disconnected").metadata["agents"] == agents
    assert AuditEvent.objects.filter(event="permission.revoked").count() >= agents

    assert "Give back 2 permissions of 2 agents" in html_of(admin, "/platforms/acme-chat/connect")
    admin.post("/platforms/acme-chat/connect", {"label": "Anew", "credential": SECRET, "restore": "on"})
    assert may_call(scene)
    back = Grant.objects.get(agent=scene.agent, revoked_at=None)
    assert (back.require_approval, back.connection_id) == (True, None)
    assert not Grant.objects.filter(agent=gone, revoked_at=None).exists()
    assert "Give back" not in html_of(admin, "/platforms/acme-chat/connect")


def test_reconnecting_gives_nothing_back_unasked(scene: Scene, admin: Client) -> None:
    admin.post(f"/connections/{scene.connection.pk}/disconnect")
    admin.post("/platforms/acme-chat/connect", {"label": "Main", "credential": SECRET})
    assert not may_call(scene)


def test_a_permission_for_one_connection_goes_with_it_and_comes_back_with_its_label_only(
    scene: Scene, admin: Client
) -> None:
    second = make_connection(scene.platform, new_token(), label="Second", default=False)
    Grant.objects.filter(agent=scene.agent).update(connection=second)
    other = scene.add_agent("other")
    assert "1 agent loses access." in html_of(admin, f"/connections/{second.pk}/disconnect")
    admin.post(f"/connections/{second.pk}/disconnect")
    assert not may_call(scene)
    assert Grant.objects.filter(agent=other, revoked_at=None).exists()
    admin.post("/platforms/acme-chat/connect", {"label": "Another", "credential": SECRET, "restore": "on"})
    assert not may_call(scene)
    admin.post("/platforms/acme-chat/connect", {"label": "Second", "credential": SECRET + "2", "restore": "on"})
    assert Grant.objects.get(agent=scene.agent, revoked_at=None).connection == Connection.objects.get(label="Second")


def test_what_was_taken_by_hand_since_is_not_given_back(scene: Scene, admin: Client) -> None:
    admin.post(f"/connections/{scene.connection.pk}/disconnect")
    admin.post("/platforms/acme-chat/connect", {"label": "Main", "credential": SECRET, "restore": "on"})
    row = Grant.objects.get(agent=scene.agent, revoked_at=None)
    admin.post(f"/agents/{scene.agent.pk}/permissions/{row.pk}/revoke")
    html = html_of(admin, "/platforms/acme-chat/connect")
    assert "Give back" not in html


def test_the_last_but_one_leaves_everybody_else_where_they_are(scene: Scene, admin: Client) -> None:
    second = make_connection(scene.platform, new_token(), label="Second", default=False)
    assert "No agent loses access." in html_of(admin, f"/connections/{second.pk}/disconnect")
    admin.post(f"/connections/{second.pk}/disconnect")
    assert may_call(scene)


# --- Scopes and settings
def test_a_scope_is_changed_for_all_who_hold_it(scene: Scene, admin: Client) -> None:
    scope = Scope.objects.get(platform=scene.platform)
    path = f"/platforms/acme-chat/scopes/{scope.pk}"
    assert "1 agent holds it" in html_of(admin, "/platforms/acme-chat")
    admin.post(path, {"rules": "POST /else", "covers": "Something else.", "step_up": "passkey", "name": "ignored"})
    scope.refresh_from_db()
    assert (scope.name, scope.rules, scope.covers, scope.step_up) == (
        "chat:write",
        ["POST /else"],
        "Something else.",
        "passkey",
    )
    assert not may_call(scene)
    assert AuditEvent.objects.latest("seq").metadata["rules"] == ["POST /else"]
    response = admin.post(path, {"rules": "POST else"})
    assert response.status_code == 400
    assert "no call can have" in response.content.decode()


def test_a_scope_of_another_platform_is_not_found(scene: Scene, admin: Client) -> None:
    scene.add_platform("github", base_url="https://g.example", connection="org", scopes={"read": ["GET /**"]})
    other = Scope.objects.get(platform__slug="github")
    assert admin.post(f"/platforms/acme-chat/scopes/{other.pk}", {"rules": "GET /x"}).status_code == 404
    response = admin.post("/platforms/acme-chat/scopes", {"name": "chat:write", "rules": "GET /x"})
    assert response.status_code == 400
    assert "There is a scope of this name." in response.content.decode()


def test_what_platforms_say_of_themselves_is_shown_with_what_hides_in_it(scene: Scene, admin: Client) -> None:
    Connection.objects.update(identity={"display_name": "<b>Boss\u202e", "email": "a@acme.example"})
    for path in ("/platforms", "/platforms/acme-chat"):
        html = html_of(admin, path)
        assert "&lt;b&gt;Boss" in html
        assert "\u202e" not in html


# --- Another address or authentication
def run(approval: ApprovalRequest) -> str:
    """Let a worker have the call; what the row says of it."""
    execution.execute(approval_id=approval.pk, now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk).execution_error or ""


def test_no_stored_credential_goes_to_another_address(scene: Scene, admin: Client, platform: CountingPlatform) -> None:
    """Neither for a call that was approved before nor for one that is asked for there."""
    approved = scene.approve(scene.submit({"n": 1}))
    html = html_of(admin, "/platforms/acme-chat/address")
    assert "A change stops its connection" in html
    assert 'value="https://chat.example.com"' in html
    sent = {"base_url": platform.url, "auth_type": "bearer", "headers": "X-Version: 2"}
    said = told(admin, admin.post("/platforms/acme-chat/address", sent), at="/platforms/acme-chat")
    assert "Saved. 1 connection needs its credential again." in said
    connection = Connection.objects.select_related("platform").get()
    assert (connection.status, connection.platform.base_url) == ("reauth_needed", platform.url)
    assert connection.platform.auth == {"type": "bearer", "headers": {"X-Version": "2"}}
    with pytest.raises(DestinationChanged):
        credential_of(connection)
    assert run(approved) != ""
    assert run(scene.approve(scene.submit({"n": 2}))) != ""
    assert platform.requests == []
    facts = AuditEvent.objects.filter(event="platform.changed").latest("seq").metadata
    before = {"base_url": "https://chat.example.com", "auth": {"type": "bearer"}}
    assert (facts["before"], facts["base_url"], facts["connections"]) == (before, platform.url, 1)

    admin.post(f"/connections/{connection.pk}/reauth", {"credential": platform.token})
    assert run(scene.approve(scene.submit({"n": 3}))) == ""
    sent_on = [{name.lower(): text for name, text in request["headers"].items()} for request in platform.requests]
    assert [(one["authorization"], one["x-version"]) for one in sent_on] == [(f"Bearer {platform.token}", "2")]


def test_what_is_as_it_was_takes_nothing_along(scene: Scene, admin: Client) -> None:
    before = state()
    sent = {"base_url": "https://chat.example.com", "auth_type": "bearer"}
    assert "Saved." in told(admin, admin.post("/platforms/acme-chat/address", sent), at="/platforms/acme-chat")
    assert state() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_url": "http://169.254.169.254"}, "AGENTVALET_PRIVATE_TARGETS"),
        ({"base_url": "chat.example.com"}, "base URL"),
        ({"auth_type": "header"}, "This must be the name of the header"),
        ({"headers": "Authorization: Bearer x"}, "This cannot set Authorization"),
    ],
    ids=str,
)
def test_an_address_that_will_not_do(scene: Scene, admin: Client, change: dict[str, str], said: str) -> None:
    before = state()
    sent = {"base_url": "https://chat.example.com", "auth_type": "bearer"}
    response = admin.post("/platforms/acme-chat/address", sent | change)
    assert (response.status_code, said in response.content.decode()) == (400, True)
    assert state() == before


# --- A scope less
def test_a_deleted_scope_is_nobodys_and_nothing_is_sent_under_it(
    scene: Scene, admin: Client, platform: CountingPlatform
) -> None:
    scope = Scope.objects.get(platform=scene.platform)
    child = asks.add_child(scene)
    ended = scene.add_agent("ended")
    Grant.objects.filter(agent=ended).update(expires_at=timezone.now() - timedelta(days=1))
    approved, waiting = scene.approve(scene.submit({"n": 1})), scene.submit({"n": 2})
    path = f"/platforms/acme-chat/scopes/{scope.pk}/delete"
    assert path in html_of(admin, "/platforms/acme-chat")
    assert "2 agents lose it." in html_of(admin, path)
    said = told(admin, admin.post(path), at="/platforms/acme-chat")
    assert "chat:write is deleted. 2 agents lost it." in said
    assert not Scope.objects.filter(pk=scope.pk).exists()
    revoked = AuditEvent.objects.filter(event="permission.revoked", action="chat:write")
    assert {row.agent_id for row in revoked} == {scene.agent.pk, child.pk, ended.pk}
    facts = AuditEvent.objects.filter(event="platform.changed").latest("seq").metadata["scope_removed"]
    assert facts == {"name": "chat:write", "rules": ["* /api/**"], "step_up": "", "agents": 2}

    admin.post("/platforms/acme-chat/scopes", {"name": "chat:write", "rules": "* /api/**"})  # is another one
    assert not may_call(scene)
    assert run(approved) != ""
    assert run(scene.approve(waiting)) != ""
    assert admin.post(path).status_code == 404


def test_a_scope_is_deleted_by_who_has_just_shown_who_they_are(scene: Scene) -> None:
    """Its page and its address likewise: nothing is changed before."""
    found, before = signed_in(scene.admin, confirmed=False), state()
    scope = Scope.objects.get(platform=scene.platform)
    for path, sent in (
        (f"/platforms/acme-chat/scopes/{scope.pk}/delete", {}),
        ("/platforms/acme-chat/address", {"base_url": "https://new.example.com", "auth_type": "bearer"}),
    ):
        assert "Confirm that it is you" in found.post(path, sent).content.decode()
    assert state() == before


def test_a_scope_of_another_platform_is_not_deleted_through_this_one(scene: Scene, admin: Client) -> None:
    scene.add_platform("github", base_url="https://g.example", connection="org", scopes={"read": ["GET /**"]})
    other = Scope.objects.get(platform__slug="github")
    before = state()
    for method in (admin.get, admin.post):
        assert method(f"/platforms/acme-chat/scopes/{other.pk}/delete").status_code == 404
    assert state() == before
