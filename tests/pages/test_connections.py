"""Connecting, testing, reauthenticating and disconnecting on the pages: for admins, on record, and no secret comes back."""

import json
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from audit.models import AuditEvent
from platforms import client as way_out
from platforms.client import PlatformUnreachable
from platforms.coverage import NotConnected, NotCovered, find_coverage
from platforms.endpoints import parse_endpoint
from platforms.models import Connection, Grant, Platform, Scope
from platforms.stored_credentials import credential_of
from tests.pages.asks import told
from tests.pages.scene import Scene, make_scene, signed_in
from tests.world import CountingPlatform, make_connection

SECRET = "xoxb-a-secret-that-no-page-shows"


def html_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.content.decode().split("<main", 1)[1]


def state() -> list[Any]:
    rows: list[Any] = [AuditEvent.objects.count()]
    for model in (Platform, Scope, Connection, Grant):
        rows.append(list(model.objects.order_by("pk").values()))
    return rows


def everything_on_record() -> str:
    return json.dumps([[row.event, row.reason, row.metadata] for row in AuditEvent.objects.all()])


def may_call(scene: Scene) -> bool:
    try:
        find_coverage(
            owner_id=scene.owner.pk,
            agent_id=scene.agent.pk,
            platform="acme-chat",
            scope="chat:write",
            method="POST",
            endpoint=parse_endpoint("/api/messages"),
            now=timezone.now(),
        )
    except (NotCovered, NotConnected):
        return False
    return True


def prepared(scene: Scene, platform: CountingPlatform, endpoint: str, **identity: str) -> str:
    """The scene's platform at the counted one, its test call, its token stored; the address of the button."""
    Connection.objects.all().delete()
    Platform.objects.filter(pk=scene.platform.pk).update(
        base_url=platform.url, test_call={"method": "GET", "endpoint": endpoint, "body": None, "identity": identity}
    )
    scene.platform.refresh_from_db()
    scene.connection = make_connection(scene.platform, platform.token)
    return f"/connections/{scene.connection.pk}/test"


# What each form is sent to, what it sends, the event it leaves.
FORMS: list[tuple[str, dict[str, str], str]] = [
    ("/catalogue/slack", {"slug": "slack", "label": "Team", "credential": SECRET}, "platform.connected"),
    ("/platforms/acme-chat/connect", {"label": "Second", "credential": SECRET}, "platform.connected"),
    (
        "/catalogue/custom",
        {
            "name": "Wiki",
            "slug": "wiki",
            "base_url": "https://wiki.example.com/api",
            "auth_type": "bearer",
            "scope": "pages:read",
            "rules": "GET /pages/**",
        },
        "platform.changed",
    ),
    ("/platforms/acme-chat/settings", {"name": "Chat", "honours_idempotency_key": "on"}, "platform.changed"),
    ("/platforms/acme-chat/scopes", {"name": "chat:new", "rules": "GET /new"}, "platform.changed"),
    ("/platforms/acme-chat/scopes/{scope}", {"rules": "GET /else", "step_up": "passkey"}, "platform.changed"),
    ("/platforms/acme-chat/scopes/{scope}/delete", {}, "platform.changed"),
    (
        "/platforms/acme-chat/address",
        {"base_url": "https://new.example.com", "auth_type": "header", "auth_name": "X-Api-Key"},
        "platform.changed",
    ),
    ("/connections/{connection}/reauth", {"credential": SECRET}, "platform.reauthenticated"),
    ("/connections/{connection}/change", {"label": "Renamed", "hint": "for tests"}, "platform.changed"),
    ("/connections/{connection}/disconnect", {}, "platform.disconnected"),
    ("/connections/{connection}/test", {}, "connection.tested"),
]
EVERY_FORM = pytest.mark.parametrize(("path", "data", "event"), FORMS, ids=[row[0] for row in FORMS])


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is connected here is tested at once: nothing but loopback is ever asked."""
    send = way_out.send

    def send_to_loopback(**call: Any) -> Any:
        if not call["url"].startswith("http://127.0.0.1:"):
            raise PlatformUnreachable("That is the internet.", code="connect_failed", may_have_been_sent=False)
        return send(**call)

    monkeypatch.setattr(way_out, "send", send_to_loopback)


def ready(scene: Scene, path: str) -> str:
    if path.endswith("/test"):
        Platform.objects.update(
            base_url="http://127.0.0.1:9",
            test_call={"method": "GET", "endpoint": "/me", "body": None, "identity": {}},
        )
    return path.format(connection=scene.connection.pk, scope=Scope.objects.get(platform=scene.platform).pk)


@EVERY_FORM
def test_an_admin_sends_every_form(scene: Scene, admin: Client, path: str, data: dict[str, str], event: str) -> None:
    address = ready(scene, path)
    response = admin.post(address, data)
    assert response.status_code == 303, response.content.decode()
    rows = AuditEvent.objects.filter(event=event)
    assert {(row.actor_kind, row.actor_label) for row in rows} == {("member", "admin@acme.example")}
    assert SECRET not in everything_on_record()
    assert SECRET not in admin.get("/platforms").content.decode()


@EVERY_FORM
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_others_read_only(scene: Scene, path: str, data: dict[str, str], event: str, role: str) -> None:
    address = ready(scene, path)
    client = signed_in(getattr(scene, role))
    before = state()
    assert client.post(address, data).status_code == 403
    assert state() == before
    html = html_of(client, "/platforms/acme-chat")
    assert "<form" not in html
    assert "chat:write" in html


# The catalogue is everybody's; what is made of it is the maker's own.
@pytest.mark.parametrize(("path", "data"), [row[:2] for row in FORMS if not row[0].startswith("/catalogue")])
def test_a_stranger_finds_nothing(scene: Scene, stranger: Client, path: str, data: dict[str, str]) -> None:
    address = ready(scene, path)
    Platform.objects.exclude(pk=scene.platform.pk).delete()  # the stranger's own of the same id
    before = state()
    assert stranger.post(address, data).status_code == 404
    assert stranger.get("/platforms/acme-chat").status_code == 404
    assert state() == before


@EVERY_FORM
def test_without_our_form_nothing_happens(scene: Scene, path: str, data: dict[str, str], event: str) -> None:
    address = ready(scene, path)
    before = state()
    assert signed_in(scene.admin, enforce_csrf_checks=True).post(address, data).status_code == 403
    assert state() == before


@EVERY_FORM
def test_looking_changes_nothing(scene: Scene, admin: Client, path: str, data: dict[str, str], event: str) -> None:
    address = ready(scene, path)
    before = state()
    assert admin.get(address).status_code in {200, 405}
    html_of(admin, "/platforms/acme-chat")
    assert state() == before


# --- Connecting
def test_a_platform_of_the_catalogue_is_made_with_what_its_file_says(scene: Scene, admin: Client) -> None:
    sent = {"at_site": "Acme", "slug": "jira", "label": "Team", "credential": "a@acme.example:token", "hint": "issues"}
    assert "Jira is connected." in told(
        admin,
        admin.post("/catalogue/jira", sent | {"is_default": "on", "require_approval": "on"}),
        at="/platforms/jira",
    )
    made = Platform.objects.get(slug="jira", owner=scene.owner)
    assert made.base_url == "https://acme.atlassian.net/rest/api/3"
    assert made.category == "Projects and issues"
    row = made.connections.get()
    assert (row.is_default, row.require_approval, row.hint) == (True, True, "issues")
    assert credential_of(row) == "a@acme.example:token"
    html = html_of(admin, "/platforms/jira")
    assert "Moves issues to another status." in html
    assert "POST /issue/*/transitions" in html
    assert not Grant.objects.filter(scope__platform=made).exists()


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("/catalogue/jira", {"at_site": "evil.example/"}, "write only that"),
        ("/catalogue/jira", {"at_site": ""}, "required"),
        ("/catalogue/jira", {"credential": ""}, "required"),
        ("/catalogue/jira", {"credential": SECRET}, "user:password"),
        ("/catalogue/jira", {"slug": "acme-chat"}, "already"),
        ("/catalogue/jira", {"slug": "A/B"}, "a-z, 0-9"),
        ("/catalogue/jira", {"label": "x" * 201}, "200"),
        ("/platforms/acme-chat/connect", {"label": "Main"}, "There is a connection of this label"),
        ("/platforms/acme-chat/connect", {"credential": f"Bearer {SECRET}"}, "without the word Bearer"),
        ("/connections/{connection}/reauth", {"credential": f"{SECRET}\u00e9"}, "ASCII"),
    ],
)
def test_what_will_not_do_is_said_and_the_credential_does_not_come_back(
    scene: Scene, admin: Client, path: str, change: dict[str, str], said: str
) -> None:
    good = {"at_site": "acme", "slug": "jira", "label": "Team", "credential": f"a:{SECRET}"}
    before = state()
    response = admin.post(ready(scene, path), good | change)
    html = response.content.decode()
    assert response.status_code == 400
    assert said in html
    assert SECRET not in html
    assert state() == before


def test_an_entry_that_is_not_there(admin: Client) -> None:
    assert admin.get("/catalogue/nothing").status_code == 404
    assert admin.get("/catalogue/..%2fschema").status_code == 404


# --- Testing
def test_a_test_makes_one_read_only_call_and_captures_whose_account_it_is(
    scene: Scene, admin: Client, platform: CountingPlatform
) -> None:
    address = prepared(scene, platform, "/echo", account_id="headers.Host", email="headers.Authorization")
    assert "It works: Acme Chat knows it as" in told(admin, admin.post(address), at="/platforms/acme-chat")
    (call,) = platform.requests
    assert (call["method"], call["path"], call["body"]) == ("GET", "/echo", "")
    row = Connection.objects.get()
    assert row.status == "active"
    assert row.identity == {"account_id": platform.url.removeprefix("http://")}  # a credential is nobody's address
    assert list(AuditEvent.objects.order_by("seq").values_list("event", flat=True)) == [
        "connection.testing",
        "connection.tested",
    ]
    assert platform.token not in everything_on_record()


@pytest.mark.parametrize(
    ("endpoint", "status", "said"),
    [
        ("/status/401", "reauth_needed", "does not take the credential (401)"),
        ("/status/403", "reauth_needed", "does not take the credential (403)"),
        ("/echo", "reauth_needed", "does not say whose credential this is"),
        ("/text", "reauth_needed", "does not say whose credential this is"),
        ("/list", "reauth_needed", "does not say whose credential this is"),
        ("/status/500", "untested", "answered the test with 500"),
        ("/redirect", "untested", "answered the test with 302"),
        ("/cut", "untested", "Not tested."),
    ],
)
def test_a_test_that_fails_says_what_it_means(
    scene: Scene, admin: Client, platform: CountingPlatform, endpoint: str, status: str, said: str
) -> None:
    assert said in told(
        admin, admin.post(prepared(scene, platform, endpoint, email="user.email")), at="/platforms/acme-chat"
    )
    assert (Connection.objects.get().status, Connection.objects.get().identity) == (status, None)
    row = AuditEvent.objects.latest("seq")
    assert (row.event, row.result) == ("connection.tested", "error")


def test_nothing_is_sent_to_an_address_that_is_not_listed(
    scene: Scene, admin: Client, platform: CountingPlatform, settings: Settings
) -> None:
    address = prepared(scene, platform, "/me")
    settings.PRIVATE_TARGETS = []
    assert "AGENTVALET_PRIVATE_TARGETS" in told(admin, admin.post(address), at="/platforms/acme-chat")
    assert platform.requests == []
    assert AuditEvent.objects.latest("seq").reason == "target_refused"


def test_a_platform_without_a_test_call_is_not_called(scene: Scene, admin: Client) -> None:
    assert "has no test call" in told(
        admin, admin.post(f"/connections/{scene.connection.pk}/test"), at="/platforms/acme-chat"
    )
    assert "connection.testing" not in everything_on_record()
    assert ">Test<" not in html_of(admin, "/platforms")


@pytest.mark.django_db(transaction=True)
def test_a_platform_is_tested_outside_of_any_transaction(
    platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene()
    address = prepared(scene, platform, "/echo")
    held: list[bool] = []
    send = way_out.send

    def watched(**call: Any) -> Any:
        held.append(database.in_atomic_block or database.connection is not None)
        return send(**call)

    monkeypatch.setattr(way_out, "send", watched)
    client = signed_in(scene.admin)
    assert client.post(address).status_code == 303
    connect = {"label": "Second", "credential": platform.token}
    assert client.post("/platforms/acme-chat/connect", connect).status_code == 303
    assert held == [False, False]


def test_a_new_credential_is_untested_and_nobodys_until_it_was_tested(scene: Scene, admin: Client) -> None:
    Connection.objects.update(status="active", identity={"email": "old@acme.example"})
    assert "The credential is replaced." in told(
        admin,
        admin.post(f"/connections/{scene.connection.pk}/reauth", {"credential": SECRET}),
        at="/platforms/acme-chat",
    )
    row = Connection.objects.get(pk=scene.connection.pk)
    assert (row.status, row.identity, row.credential_version) == ("untested", None, 2)
    assert credential_of(row) == SECRET
