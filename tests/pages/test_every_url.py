"""Every URL, every role: who gets in, who is refused, and that somebody else's object is a 404 to everybody."""

import re
from collections.abc import Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from agents.delegate_model import Delegate
from agents.members import settle_staff
from agents.models import CliToken
from agents.people_models import Invitation, Session
from approvals.models import ApprovalRequest
from audit.checkpoints import checkpoint_moved_chains
from audit.models import AuditEvent, Checkpoint
from notifications.devices import PushDevice
from platforms.models import Platform, Scope
from tests.pages import asks
from tests.pages.passkeys import Person
from tests.pages.scene import Scene, make_scene, signed_in

TABLE = Path(__file__).with_name("every_url.txt")
ROLES = ("admin", "approver", "auditor", "stranger", "nobody")
REGEXES = {
    "admin/^(?P<app_label>audit|approvals)/$": "admin/<str:app_label>/",
    "admin/(?P<url>.*)$": "admin/<str:url>",
}
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
    "platforms/<slug:slug>/settings": {"name": "Acme Talk"},
    "platforms/<slug:slug>/address": {"base_url": "https://new.example.com", "auth_type": "bearer"},
    "platforms/<slug:slug>/connect": {"label": "Other", "credential": "a-credential-of-acme"},
    "connections/<uuid:connection_id>/reauth": {"credential": "a-credential-of-acme"},
    "catalogue/<slug:entry_id>": {"slug": "github", "label": "Main", "credential": "a-credential-of-acme"},
    "catalogue/custom": {
        "name": "Own",
        "slug": "own",
        "base_url": "https://own.example",
        "auth_type": "bearer",
        "scope": "all",
        "rules": "GET /**",
    },
    "notifications/registrations/<uuid:ask_id>/approve": {"grant": "acme-chat:chat:write"},
    "notifications/access/<uuid:ask_id>/approve": {"scope": "chat:admin"},
    "platforms/<slug:slug>/scopes/<int:scope_id>": {"name": "chat:admin", "rules": "GET /**"},
    "connections/<uuid:connection_id>/change": {"label": "Other", "is_default": "on"},
    "approvals/<uuid:approval_id>/outcome": {"found": "not_happened"},
    "platforms/<slug:slug>/scopes": {"name": "chat:more", "rules": "GET /**"},
}


def routes() -> set[str]:
    """Of pages and of Django's admin; those of its routes that are regular expressions by what stands for them here."""
    return {REGEXES.get(route, route) for route in below(get_resolver()) if not route.startswith(PUBLIC)}


def below(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = f"{prefix}{entry.pattern}"
        if isinstance(entry, URLResolver):
            yield from below(entry, route)
        else:
            yield route


def table() -> dict[tuple[str, str], list[str]]:
    """Method and route, then what each role gets: a status, with `-` where nothing may be put on record."""
    rows = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {(method, route.removeprefix("/")): cells for method, route, *cells in rows}


@pytest.fixture
def objects(scene: Scene) -> dict[str, str]:
    """One of everything that Acme has, by the names that routes call it by; `NAMED` where several share one."""
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
    wish, uninstall = asks.ask_access(scene), asks.ask_uninstall(scene)
    registration, report = asks.register(scene), asks.report(scene)
    checkpoint_moved_chains(now=now)
    audit_id = str(AuditEvent.objects.filter(owner_id=scene.owner.pk).latest("seq").pk)
    return {
        "approval_id": str(approval.pk),
        "digest": approval.digest,
        "audit_id": audit_id,
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
        "report_id": str(report.pk),
        "notifications/registrations": str(registration.pk),
        "notifications/access": str(wish.pk),
        "notifications/uninstalls": str(uninstall.pk),
        "admin/audit/auditevent": audit_id,
        "admin/audit/checkpoint": str(Checkpoint.objects.get(owner_id=scene.owner.pk).pk),
        "admin/approvals/approvalrequest": str(approval.pk),
        "admin/r/<path:content_type_id>": str(approval.pk),
        "content_type_id": str(ContentType.objects.get_for_model(ApprovalRequest).pk),
        "app_label": "audit",
        "url": "nothing/",
    }


def cookies_of(scene: Scene, role: str) -> SimpleCookie:
    """Of a browser of that role. Admins and auditors are let into /admin, as `agents.members` does it."""
    if role == "nobody":
        return Client().cookies
    member = scene.members.get(role)
    if member is None:
        other = make_scene("Other")
        Platform.objects.filter(pk=other.platform.pk).update(slug="other-chat")
        member = other.admin
    settle_staff(member.user)
    return signed_in(member).cookies


def path_of(route: str, objects: dict[str, str]) -> str:
    """`ask_id` and `object_id` are of the kind that the route says before."""

    def value(found: re.Match[str]) -> str:
        return objects[found[1]] if found[1] in objects else objects[route[: found.start() - 1]]

    return "/" + re.sub(r"<\w+:(\w+)>", value, route)


def ask(scene: Scene, objects: dict[str, str], method: str, route: str, cookies: SimpleCookie) -> tuple[str, bool]:
    """The status, and whether anything was put on record with Acme."""
    client = Client()
    client.cookies = SimpleCookie(cookies.output(header="", sep=";"))
    if "session_id" in route:
        signed_in(scene.admin).get("/settings")
        objects["session_id"] = Session.objects.filter(user=scene.admin.user).latest("seen_at").pk
    path = path_of(route, objects)
    before = AuditEvent.objects.filter(owner_id=scene.owner.pk).count()
    data = SENT.get(route, {})
    if "<uuid:approval_id>" in route:
        data = data | {"digest": objects["digest"]}
    if route == "approvals/deny":
        data = {"selected": f"{objects['approval_id']}:{objects['digest']}"}
    response = client.post(path, data) if method == "POST" else client.get(path)
    if response.streaming:
        b"".join(response)  # an export holds its place until it has ended
    is_away = response.status_code == 302 and response["Location"].startswith("/sign-in?next=")
    status = "in" if is_away else str(response.status_code)
    return status, AuditEvent.objects.filter(owner_id=scene.owner.pk).count() != before


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    """A new route needs a row in every_url.txt for each method that it knows."""
    assert {route for _, route in table()} == routes()


def test_another_method_is_unknown(scene: Scene, objects: dict[str, str]) -> None:
    unknown = [(method, route) for method in ("GET", "POST") for route in routes() if (method, route) not in table()]
    client = signed_in(scene.admin)
    objects["session_id"] = "0" * 40
    for method, route in unknown:
        assert client.generic(method, path_of(route, objects)).status_code == 405, route


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_what_the_table_says(
    scene: Scene, objects: dict[str, str], role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One scene for the whole column: what a row does is taken back after it. Connections are not tried out."""
    monkeypatch.setattr("platforms.connection_views._tested", lambda request, connection_id, done, saved: done)
    cookies = cookies_of(scene, role)
    wrong = []
    for (method, route), cells in table().items():
        expected = cells[ROLES.index(role)]
        before = transaction.savepoint()
        status, is_on_record = ask(scene, objects, method, route, cookies)
        transaction.savepoint_rollback(before)
        cache.clear()
        is_quiet = method == "GET" or expected.endswith("-") or expected in {"in", "403", "404", "405"}
        if (status, is_on_record) != (expected.rstrip("-"), not is_quiet):
            wrong.append(f"{method} /{route}: {status}, {'' if is_on_record else 'not '}on record; expected {expected}")
    assert wrong == []


NOBODYS = {"catalogue/<slug:entry_id>", "audit/export.<str:kind>", "admin/<str:app_label>/"}


def test_somebody_elses_object_is_a_404_or_not_even_asked_for() -> None:
    """The stranger is an admin elsewhere: what is refused is refused for the object, not for the role."""
    found = {
        (method, route)
        for (method, route), cells in table().items()
        if "<" in route and cells[ROLES.index("stranger")] not in {"404", "405"}
    }
    goes_on = {(method, route) for method, route in found if route.endswith("/<path:object_id>/")}  # to what is a 404
    assert {route for _, route in found - goes_on} == NOBODYS
