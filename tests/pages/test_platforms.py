"""/platforms: what is connected and how it stands, for everybody of the owner and for nobody else."""

import pytest
from django.conf import settings as real_settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings
from redis import Redis

from platforms.models import Connection, Platform
from platforms.traffic import Verdict, turn
from tests.pages.scene import Scene, signed_in
from tests.pages.test_connections import prepared
from tests.world import CountingPlatform


def fail(scene: Scene, times: int) -> None:
    """The platform fails, as calls see it."""
    for _ in range(times):
        with turn(owner_id=scene.owner.pk, platform="acme-chat", timeout=1, now=timezone.now()) as place:
            place.verdict = Verdict.FAILED


def page(client: Client) -> str:
    response = client.get("/platforms")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response.content.decode().split("<main", 1)[1]


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_everybody_of_the_owner_sees_platform_address_and_connections(scene: Scene, role: str) -> None:
    html = page(signed_in(getattr(scene, role)))
    for words in ("Acme Chat", "acme-chat", "https://chat.example.com", "Main", ">Untested<", "Never used"):
        assert words in html
    for verb in ("Reauth", "Disconnect", "Connect a platform", "Custom platform", "<form"):
        assert (verb in html) == (role == "admin" and verb != "<form"), verb


def test_a_circuit_is_shown_as_it_stands(scene: Scene, admin: Client, settings: Settings) -> None:
    settings.CIRCUIT_FAILURES = 3
    fail(scene, 2)
    assert "The last 2 calls failed." in page(admin)
    fail(scene, 1)
    html = page(admin)
    assert "Circuit open" in html
    assert "not called until <time" in html
    key = f"traffic:{scene.owner.pk}:acme-chat:circuit"
    Redis.from_url(real_settings.REDIS_URL).hset(key, "open_until", "1")
    assert "Circuit half-open" in page(admin)


def test_a_page_says_when_it_cannot_know(admin: Client, settings: Settings) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    assert "Not known" in page(admin)


def test_a_suspended_platform_and_a_bad_credential_are_said(scene: Scene, admin: Client) -> None:
    Connection.objects.filter(pk=scene.connection.pk).update(status="reauth_needed")
    html = page(admin)
    assert '<span class="badge status status-reauth_needed">Reauth needed</span>' in html
    Platform.objects.filter(pk=scene.platform.pk).update(suspended_at=timezone.now())
    assert "No agent may call it." in page(admin)


def test_a_stranger_sees_nothing_of_it(scene: Scene, stranger: Client, settings: Settings) -> None:
    settings.CIRCUIT_FAILURES = 1
    fail(scene, 1)
    Platform.objects.filter(pk=scene.platform.pk).update(name="Only Acme's")
    html = page(stranger)
    assert "Only Acme" not in html
    assert "Circuit open" not in html


def test_without_platforms_it_says_so(scene: Scene, admin: Client) -> None:
    Platform.objects.all().delete()
    assert "No platforms yet." in page(admin)


def test_names_are_shown_with_what_hides_in_them(scene: Scene, admin: Client) -> None:
    Platform.objects.filter(pk=scene.platform.pk).update(name="<b>Acme\u202e")
    html = page(admin)
    assert "&lt;b&gt;Acme" in html
    assert "\u202e" not in html


def test_it_costs_the_same_however_many_there_are(
    scene: Scene, admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    page(admin)  # the first one of a session writes that it was seen
    with CaptureQueriesContext(connection) as few:
        page(admin)
    for number in range(5):
        scene.add_platform(f"other-{number}", base_url="https://x.example.com", connection="Main", scopes={})
    with django_assert_num_queries(len(few.captured_queries)):
        page(admin)


def test_it_is_for_people_who_are_signed_in_and_changes_nothing(scene: Scene, client: Client, admin: Client) -> None:
    assert client.get("/platforms").status_code == 302
    assert admin.post("/platforms").status_code == 405


def test_a_wrong_credential_looks_like_an_error_and_does_not_begin_with_good_news(
    scene: Scene, admin: Client, platform: CountingPlatform
) -> None:
    test = prepared(scene, platform, "/status/401")
    why = "does not take the credential (401). Reauthenticate the connection."
    reauth = f"/connections/{scene.connection.pk}/reauth"
    for address, said in (
        (test, f"Acme Chat {why}"),
        (reauth, f"The new credential was saved, but Acme Chat {why}"),
        ("/platforms/acme-chat/connect", f"Acme Chat was saved, but {why}"),
    ):
        admin.post(address, {"label": "Second", "credential": "another-token-1234"})
        html = admin.get("/platforms/acme-chat").content.decode()
        assert f'<li class="notice notice-error">{said}</li>' in html
