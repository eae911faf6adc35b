"""Signing in and out: who gets a session, how often one may try, and what is on record."""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.core.signals import request_finished
from django.db import DatabaseError, close_old_connections, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.client import ClientHandler
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import throttle
from agents.middleware import PUBLIC_PATHS, PUBLIC_PREFIXES
from agents.models import Role, User
from agents.people_models import Session
from audit.models import AuditEvent
from tests.pages.scene import PASSWORD, Scene, signed_in
from tests.world import make_member

WRONG = "The e-mail address or the password is not right."
COOKIE = "agentvalet_session"


def try_to_sign_in(client: Client, email: str, password: str = PASSWORD, **data: str) -> Any:
    return client.post("/sign-in", {"email": email, "password": password, **data})


def test_email_and_password_open_the_queue(scene: Scene) -> None:
    client = Client()
    response = try_to_sign_in(client, "  Admin@ACME.example ")
    assert (response.status_code, response["Location"]) == (302, "/")
    assert client.get("/approvals").status_code == 200
    row = AuditEvent.objects.get(owner_id=scene.owner.pk, event="member.signed_in")
    assert row.actor_label == "admin@acme.example"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("admin@acme.example", "wrong"),
        ("nobody@acme.example", PASSWORD),
        ("not an address", PASSWORD),
        ("", ""),
        ("admin@acme.example\0", PASSWORD),
        ("a" * 300 + "@acme.example", PASSWORD),
        ("admin@acme.example", "x" * 5000),
    ],
)
def test_every_failure_looks_the_same(scene: Scene, email: str, password: str) -> None:
    client = Client()
    response = try_to_sign_in(client, email, password)
    assert response.status_code == 200
    assert WRONG in response.content.decode()
    assert COOKIE not in client.cookies


def test_an_unknown_account_costs_a_password_check_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(User, "set_password", lambda self, raw: checked.append(raw))
    try_to_sign_in(Client(), "nobody@acme.example")
    assert checked == [PASSWORD]  # django.contrib.auth.backends.ModelBackend hashes for nobody


def test_an_inactive_account_stays_out(scene: Scene) -> None:
    User.objects.filter(pk=scene.admin.user_id).update(is_active=False)
    assert WRONG in try_to_sign_in(Client(), "admin@acme.example").content.decode()


def test_a_failure_is_on_record_with_its_owner(scene: Scene) -> None:
    try_to_sign_in(Client(), "admin@acme.example", "wrong")
    row = AuditEvent.objects.get(owner_id=scene.owner.pk, event="member.sign_in_failed")
    assert (row.actor_label, row.result) == ("admin@acme.example", "denied")
    assert "wrong" not in row.canonical


def test_the_answer_is_on_its_way_before_anybody_asks_whose_failure_it_was(scene: Scene) -> None:
    """The work that only a known account makes must not show in the time of the answer."""
    handler = ClientHandler()
    handler.load_middleware()
    body = b"email=admin%40acme.example&password=wrong"
    request = RequestFactory().post("/sign-in", body, content_type="application/x-www-form-urlencoded")
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
    with CaptureQueriesContext(connection) as queries:
        response = handler.get_response(request)
    assert isinstance(response, HttpResponse)
    assert WRONG in response.content.decode()
    assert response["Content-Length"] == str(len(response.content))  # or its end would wait for close()
    assert [query["sql"] for query in queries if "agents_member" in query["sql"]] == []
    assert sum("agents_user" in query["sql"] for query in queries) == 1
    assert not AuditEvent.objects.exists()
    request_finished.disconnect(close_old_connections)  # a test keeps its connection
    response.close()  # what a web server does when all is sent
    request_finished.connect(close_old_connections)
    assert AuditEvent.objects.get().event == "member.sign_in_failed"


def test_a_failure_that_cannot_be_recorded_is_answered_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr("agents.views._record_failure", refuse)
    assert WRONG in try_to_sign_in(Client(), "admin@acme.example", "wrong").content.decode()
    assert "not on record" in caplog.text


def test_the_session_is_a_fresh_one(scene: Scene) -> None:
    client = signed_in(scene.auditor)
    fixed = client.cookies[COOKIE].value
    try_to_sign_in(client, "admin@acme.example")
    assert client.cookies[COOKIE].value != fixed
    thief = Client()
    thief.cookies[COOKIE] = fixed
    assert thief.get("/approvals").status_code == 302


def test_an_invented_session_key_is_not_taken_over(scene: Scene) -> None:
    client = Client()
    client.cookies[COOKIE] = "a" * 32
    try_to_sign_in(client, "admin@acme.example")
    assert client.cookies[COOKIE].value != "a" * 32


def test_a_key_read_from_the_database_signs_nobody_in(scene: Scene) -> None:
    client = signed_in(scene.admin)
    (stored,) = Session.objects.values_list("session_key", flat=True)
    thief = Client()
    for key in (stored, stored[:32]):
        thief.cookies[COOKIE] = key
        assert thief.get("/approvals").status_code == 302
    assert client.get("/approvals").status_code == 200
    assert client.cookies[COOKIE].value not in stored
    client.post("/sign-out")
    assert not Session.objects.exists()


def test_what_another_session_holds_signs_nobody_in_under_a_key_of_ones_own(scene: Scene) -> None:
    victim = signed_in(scene.admin)
    row = Session.objects.get()
    row.session_key = hashlib.sha256(b"a" * 32).hexdigest()[: len(row.session_key)]
    row.save(force_insert=True)
    thief = Client()
    thief.cookies[COOKIE] = "a" * 32
    assert thief.get("/approvals").status_code == 302
    assert victim.get("/approvals").status_code == 200


def test_signing_out_ends_every_copy_of_the_session(scene: Scene) -> None:
    client = signed_in(scene.admin)
    copy = Client()
    copy.cookies[COOKIE] = client.cookies[COOKIE].value
    assert client.post("/sign-out")["Location"] == "/sign-in"
    assert copy.get("/approvals").status_code == 302
    assert AuditEvent.objects.filter(owner_id=scene.owner.pk, event="member.signed_out").count() == 1


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
def test_both_forms_need_our_token(scene: Scene, path: str) -> None:
    client = signed_in(scene.admin, enforce_csrf_checks=True)
    assert client.post(path, {"email": "admin@acme.example", "password": PASSWORD}).status_code == 403
    assert client.get("/approvals").status_code == 200


def test_signing_out_is_not_a_link(scene: Scene) -> None:
    assert signed_in(scene.admin).get("/sign-out").status_code == 405


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "///evil.example",
        "/\t/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "evil.example",
        "/\x00//evil.example",
        "https:///evil.example",
    ],
)
@pytest.mark.parametrize("where", ["form", "query", "signed in"])
def test_next_never_leads_away(scene: Scene, target: str, where: str) -> None:
    if where == "signed in":
        response = signed_in(scene.admin).get("/sign-in", {"next": target})
    elif where == "query":
        page = Client().get("/sign-in", {"next": target}).content.decode()
        assert 'name="next" value="/"' in page
        return
    else:
        response = try_to_sign_in(Client(), "admin@acme.example", next=target)
    assert (response.status_code, response["Location"]) == (302, "/")


def test_next_leads_to_a_page_of_ours(scene: Scene) -> None:
    page = Client().get("/sign-in", {"next": "/approvals?a=1"}).content.decode()
    assert 'name="next" value="/approvals?a=1"' in page
    assert try_to_sign_in(Client(), "admin@acme.example", next="/approvals?a=1")["Location"] == "/approvals?a=1"


def attempt(email: str = "admin@acme.example", password: str = "wrong", *, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post("/sign-in", {"email": email, "password": password})


@pytest.mark.parametrize("email", ["admin@acme.example", "nobody@acme.example", "not an address"])
def test_an_account_is_tried_a_few_times_from_one_network_and_then_not_at_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    monkeypatch.setattr(throttle, "TRIES_PER_ACCOUNT_AND_NETWORK", 3)
    for _ in range(3):
        assert attempt(email).status_code == 200
    refused = attempt(f" {email.upper()}", PASSWORD)
    assert refused.status_code == 429
    assert re.search(r"Too many attempts, try again in \d+ minutes?\.", refused.content.decode())
    assert 0 < int(refused["Retry-After"]) <= 900
    assert attempt("approver@acme.example", PASSWORD).status_code == 302


def test_a_stranger_locks_nobody_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert throttle.TRIES_PER_ACCOUNT >= 10 * throttle.TRIES_PER_ACCOUNT_AND_NETWORK
    monkeypatch.setattr(throttle, "TRIES_PER_ACCOUNT_AND_NETWORK", 2)
    monkeypatch.setattr(throttle, "TRIES_PER_ACCOUNT", 6)
    for _ in range(12):
        attempt(address="203.0.113.9")
    assert attempt(password=PASSWORD, address="203.0.113.9").status_code == 429
    assert attempt(password=PASSWORD, address="198.51.100.7").status_code == 302


@pytest.mark.parametrize("email", ["admin@acme.example", "nobody@acme.example"])
def test_an_account_that_many_networks_guess_at_is_closed_for_a_while(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    monkeypatch.setattr(throttle, "TRIES_PER_ACCOUNT", 3)
    for number in range(3):
        assert attempt(email, address=f"203.0.113.{number}").status_code == 200
    assert attempt(email, PASSWORD, address="198.51.100.7").status_code == 429
    assert attempt("approver@acme.example", PASSWORD, address="198.51.100.7").status_code == 302


def test_every_spelling_of_an_address_counts_as_the_same(scene: Scene) -> None:
    """The form takes a long s, and the database finds the account with it."""
    member = make_member(scene.owner, "boss@acme.example", Role.APPROVER)
    spellings = ["boss@acme.example", "BOSS@ACME.EXAMPLE", "bo\u017fs@acme.example", " bos\u017f@acme.example"]
    assert User.objects.filter(email__iexact=spellings[2]).get() == member.user
    now = timezone.now()
    for number in range(throttle.TRIES_PER_ACCOUNT_AND_NETWORK):
        assert throttle.count_try(address="192.0.2.1", email=spellings[number % 4], now=now) is None
    assert throttle.count_try(address="192.0.2.1", email=spellings[2], now=now) is not None


def test_an_address_is_stopped_whatever_accounts_it_names(scene: Scene) -> None:
    for number in range(throttle.TRIES_PER_NETWORK):
        attempt(f"not an address {number}")
    assert attempt(password=PASSWORD).status_code == 429


def test_the_right_password_starts_the_account_anew(scene: Scene) -> None:
    for _ in range(throttle.TRIES_PER_ACCOUNT_AND_NETWORK - 1):
        throttle.count_try(address="192.0.2.1", email="admin@acme.example", now=timezone.now())
    assert attempt(password=PASSWORD).status_code == 302
    assert attempt().status_code == 200


def test_the_wait_ends() -> None:
    start = datetime.fromisoformat("2026-03-01T12:01:00+00:00")
    for _ in range(throttle.TRIES_PER_ACCOUNT_AND_NETWORK):
        assert throttle.count_try(address="198.51.100.1", email="a@b.example", now=start) is None
    assert throttle.count_try(address="198.51.100.1", email="a@b.example", now=start) == timedelta(minutes=14)
    later = start + timedelta(minutes=14)
    assert throttle.count_try(address="198.51.100.1", email="a@b.example", now=later) is None


def test_neighbours_in_one_ipv6_network_count_as_one(scene: Scene) -> None:
    now = timezone.now()
    for number in range(throttle.TRIES_PER_NETWORK):
        throttle.count_try(address=f"2001:db8::{number:x}", email=f"{number}@b.example", now=now)
    assert throttle.count_try(address="2001:db8::ffff", email="x@b.example", now=now) is not None
    assert throttle.count_try(address="2001:db8:0:1::1", email="y@b.example", now=now) is None


def cache_at(url: str) -> dict[str, Any]:
    return {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}}


@pytest.fixture(params=["away", "read-only"])
def broken_cache(request: pytest.FixtureRequest, settings: Settings) -> Iterator[None]:
    """Valkey that does not answer, and Valkey that takes no writes (as when it is full)."""
    if request.param == "away":
        settings.CACHES = cache_at("redis://127.0.0.1:9/0")
        yield
        return
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["*"], categories=["+@read", "+@connection"], reset=True
    )
    settings.CACHES = cache_at(settings.REDIS_URL.replace("unix://", "unix://reader:x@"))
    yield
    client.acl_deluser("reader")
    client.close()


@pytest.mark.parametrize("email", ["admin@acme.example", "nobody@acme.example"])
def test_without_the_count_nobody_gets_in_and_the_page_says_so(scene: Scene, broken_cache: None, email: str) -> None:
    response = attempt(email, PASSWORD)
    assert (response.status_code, response["Retry-After"]) == (503, "60")
    html = response.content.decode()
    assert "Nobody can sign in at the moment: try again in a minute." in html
    assert f'value="{email}"' in html
    assert COOKIE not in response.cookies
    assert Client().get("/sign-in").status_code == 200


def test_who_is_in_when_the_count_goes_away_stays_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(cache, "delete", gone)
    assert attempt(password=PASSWORD).status_code == 302


def test_somebody_without_an_owner_is_told(scene: Scene) -> None:
    scene.admin.delete()
    client = signed_in(scene.admin)
    response = client.get("/approvals")
    assert response.status_code == 403
    html = response.content.decode()
    assert "You are not a member of any owner yet" in html
    assert 'action="/sign-out"' in html
    assert client.post("/sign-out").status_code == 302


def test_every_page_asks_for_a_session_but_the_ones_we_name(scene: Scene) -> None:
    """A new route is behind the sign-in unless somebody puts it on the list."""
    asked = 0
    for pattern in get_resolver().url_patterns:
        if not isinstance(pattern, URLPattern):
            assert str(pattern.pattern) == "admin/"  # tested with the error pages
            continue
        path = "/" + re.sub(r"<uuid:\w+>", "00000000-0000-4000-8000-000000000000", str(pattern.pattern))
        path = re.sub(r"<int:\w+>", "1", re.sub(r"<slug:\w+>", "agt_0", path))
        if path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
            continue
        response = Client().post(path)
        assert (response.status_code, response["Location"]) == (302, "/sign-in?next=/"), path
        asked += 1
    assert asked >= 5
    passkey = ("/sign-in/passkey", "/sign-in/passkey/options")
    installable = ("/approve", "/sw.js", "/manifest.webmanifest", "/offline")
    assert {"/sign-in", *passkey, "/set-up", "/join", "/sign-out", "/health", "/api-docs", *installable} == set(
        PUBLIC_PATHS
    )
    assert PUBLIC_PREFIXES == ("/v1/", "/functions/v1/", "/.well-known/")
