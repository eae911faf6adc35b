"""Every URL, every role: who gets in, who is refused, and that somebody else's object is a 404 to everybody."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from agents.delegate_model import Delegate
from agents.models import CliToken
from agents.people_models import Invitation, Session
from audit.models import AuditEvent
from notifications.devices import PushDevice
from platforms.models import Platform, Scope
from tests.pages import asks
from tests.pages.passkeys import Person
from tests.pages.scene import Scene, make_scene, signed_in

TABLE = Path(__file__).with_name("every_url.txt")
ROLES = ("admin", "approver", "auditor", "stranger", "nobody")
PUBLIC = ("v1/", "functions/v1/")  # no person's session counts there: tests of the agent API

# What a button has to be sent so that who may press it gets something done.
SENT: dict[str, dict[str, str]] = {
    "settings/name": {"name": "Somebody"},
    "settings/password": {"password": "a quite different phrase", "again": "a quite different phrase"},
    "settings/theme": {"theme": "dark"},
    "settings/approval-lifetime": {"minutes": "45"},
    "settings/agents/suspend": {"word": "SUSPEND"},
    "settings/agents/reactivate": {"stopped_at": "2026-01-01T00:00:00+00:00"},
    "settings/members/invite": {"email": "new@acme.example", "role": "approver"},
    "settings/members/<int:member_id>/role": {"role": "approver"},
    "settings/delegates": {"email": "delegate@acme.example"},
    "settings/delegates/<uuid:delegate_id>/active": {"active": "0"},
    "agents/new": {"name": "another", "kind": "bind"},
    "agents/<slug:agent_id>/delete": {"name": "deploy-bot"},
    "agents/<slug:agent_id>/permissions": {"scope": "acme-chat:chat:admin"},
    "agents/<slug:agent_id>/permissions/<int:grant_id>/approval": {"require_approval": "0"},
    "platforms/<slug:slug>/settings": {"name": "Acme Chat"},
    "platforms/<slug:slug>/scopes/<int:scope_id>": {"name": "chat:admin", "rules": "GET /**"},
    "connections/<uuid:connection_id>/change": {"label": "Other", "is_default": "on"},
    "approvals/<uuid:approval_id>/outcome": {"found": "not_happened"},
    "platforms/<slug:slug>/scopes": {"name": "chat:more", "rules": "GET /**"},
}


def routes() -> dict[str, Any]:
    patterns = [entry for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)]
    return {str(entry.pattern): entry for entry in patterns if not str(entry.pattern).startswith(PUBLIC)}


def table() -> dict[tuple[str, str], list[str]]:
    """Method and route, then what each role gets: a status, with `-` where nothing may be put on record."""
    rows = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {(method, route.removeprefix("/")): cells for method, route, *cells in rows}


@pytest.fixture
def objects(scene: Scene) -> dict[str, str]:
    """One of everything that Acme has, by the names that routes call it by."""
    now = timezone.now()
    asks.add_scope(scene)
    approval = scene.submit({"n": 1})
    passkey = Person(scene.admin).register()
    device = PushDevice.objects.create(
        member=scene.admin, name="x", endpoint="https://push.example/1", endpoint_hash=b"1" * 32, public_key=b"1" * 65,
        auth_secret=b"1" * 16, created_at=now,
    )  # fmt: skip
    token = CliToken.objects.create(
        member=scene.admin, token_hash=b"1" * 32, created_at=now, expires_at=now + timedelta(days=1)
    )
    invitation = Invitation.objects.create(
        owner=scene.owner, email="x@acme.example", role="auditor", token_hash=b"1" * 32, invited_by=scene.admin,
        created_at=now, expires_at=now + timedelta(days=1),
    )  # fmt: skip
    delegate = Delegate.objects.create(owner=scene.owner, email="d@acme.example", created_at=now)
    audit_id = AuditEvent.objects.filter(owner_id=scene.owner.pk).latest("seq").pk
    return {
        "approval_id": str(approval.pk),
        "audit_id": str(audit_id),
        "agent_id": scene.agent.pk,
        "grant_id": str(asks.grant(scene).pk),
        "member_id": str(scene.auditor.pk),
        "invitation_id": str(invitation.pk),
        "token_id": str(token.pk),
        "passkey_id": str(passkey.pk),
        "device_id": str(device.pk),
        "delegate_id": str(delegate.pk),
        "connection_id": str(scene.connection.pk),
        "slug": "acme-chat",
        "scope_id": str(Scope.objects.filter(platform=scene.platform).latest("pk").pk),
        "entry_id": "github",
        "kind": "jsonl",
        "ask_id": "00000000-0000-4000-8000-000000000000",
        "report_id": "00000000-0000-4000-8000-000000000000",
    }


def client_of(scene: Scene, role: str) -> Client:
    if role == "nobody":
        return Client()
    if role != "stranger":
        return signed_in(scene.members[role])
    other = make_scene("Other")
    Platform.objects.filter(pk=other.platform.pk).update(slug="other-chat")
    return signed_in(other.admin)


def path_of(route: str, objects: dict[str, str]) -> str:
    return "/" + re.sub(r"<\w+:(\w+)>", lambda found: objects[found[1]], route)


def ask(scene: Scene, objects: dict[str, str], method: str, route: str, role: str) -> tuple[str, bool]:
    """The status, and whether anything was put on record with Acme."""
    client = client_of(scene, role)
    if "session_id" in route:
        signed_in(scene.admin).get("/settings")
        objects["session_id"] = Session.objects.filter(user=scene.admin.user).latest("seen_at").pk
    path = path_of(route, objects)
    before = AuditEvent.objects.filter(owner_id=scene.owner.pk).count()
    data = SENT.get(route, {})
    if "<uuid:approval_id>" in route:
        data = data | {"digest": scene.submit({"n": 1}).digest}
    if route == "approvals/deny":
        row = scene.submit({"n": 1})
        data = {"selected": f"{row.pk}:{row.digest}"}
    response = client.post(path, data) if method == "POST" else client.get(path)
    if response.streaming:
        b"".join(response)  # an export holds its place until it has ended
    is_away = response.status_code == 302 and response["Location"].startswith("/sign-in?next=")
    status = "in" if is_away else str(response.status_code)
    return status, AuditEvent.objects.filter(owner_id=scene.owner.pk).count() != before


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    """A new route needs a row in every_url.txt for each method that it knows."""
    assert {route for _, route in table()} == set(routes())


def test_another_method_is_unknown(scene: Scene, objects: dict[str, str]) -> None:
    unknown = [(method, route) for method in ("GET", "POST") for route in routes() if (method, route) not in table()]
    client = signed_in(scene.admin)
    objects["session_id"] = "0" * 40
    for method, route in unknown:
        assert client.generic(method, path_of(route, objects)).status_code == 405, route


@pytest.mark.parametrize(("method", "route"), table(), ids=str)
def test_each_role_gets_what_the_table_says(scene: Scene, objects: dict[str, str], method: str, route: str) -> None:
    for role, expected in zip(ROLES, table()[method, route], strict=True):
        before = transaction.savepoint()
        status, is_on_record = ask(scene, objects, method, route, role)
        transaction.savepoint_rollback(before)
        cache.clear()
        assert (role, status) == (role, expected.rstrip("-"))
        if method == "GET" or expected.endswith("-") or expected in {"in", "403", "404", "405"}:
            assert (role, is_on_record) == (role, False)


STRANGE = [(method, route) for method, route in table() if "<" in route]


@pytest.mark.parametrize(("method", "route"), STRANGE, ids=str)
def test_somebody_elses_object_is_a_404_or_not_even_asked_for(method: str, route: str) -> None:
    """The stranger is an admin elsewhere: what is refused is refused for the object, not for the role."""
    ours = {"catalogue/<slug:entry_id>", "audit/export.<str:kind>"}  # nobody's objects
    assert route in ours or table()[method, route][3] in {"404", "405"}
