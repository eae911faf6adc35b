"""The pages for phones: who lands there, what is on them, and the way back."""

from uuid import uuid4

import pytest
from django.test import Client

from approvals.models import ApprovalRequest, Decision
from tests.pages.passkeys import Person
from tests.pages.scene import Scene

PHONE = {"User-Agent": "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"}
HINT = {"Sec-CH-UA-Mobile": "?1"}
DESKTOP = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0", "Sec-CH-UA-Mobile": "?0"}


@pytest.mark.parametrize("headers", [PHONE, HINT], ids=["user agent", "client hint"])
def test_a_phone_lands_on_its_own_pages_and_can_leave_them(
    scene: Scene, admin: Client, headers: dict[str, str]
) -> None:
    approval = scene.submit({"n": 1})
    for path in ("/approvals", f"/approvals/{approval.pk}"):
        response = admin.get(path, headers=headers)
        assert (response.status_code, response["Location"]) == (302, f"/m{path}")
        page = admin.get(f"/m{path}", headers=headers).content.decode()
        assert f'href="{path}?full=1"' in page
        assert admin.get(f"{path}?full=1", headers=headers).status_code == 200
        assert admin.get(f"{path}?version=0", headers=headers | {"X-Fragment": "1"}).status_code == 200


def test_a_desktop_stays_where_it_is_and_may_look_at_the_phones_pages(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    for path in ("/approvals", f"/approvals/{approval.pk}"):
        assert admin.get(path, headers=DESKTOP).status_code == 200
        assert admin.get(path).status_code == 200
        assert admin.get(f"/m{path}", headers=DESKTOP).status_code == 200


def test_the_list_has_agent_platform_scope_and_expiry(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    page = admin.get("/m/approvals").content.decode()
    for shown in ("deploy-bot", "acme-chat", "chat:write", "data-time-left", f'href="/m/approvals/{approval.pk}"'):
        assert shown in page
    assert "data-decide" not in page
    assert admin.get(f"/m/approvals?version={approval.queue_version}", headers={"X-Fragment": "1"}).status_code == 204


def test_the_page_of_a_call_is_complete_and_decides(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"text": "Hello"}, reason="because")
    page = admin.get(f"/m/approvals/{approval.pk}").content.decode()
    for shown in (approval.digest, "&quot;Hello&quot;", "because", "/api/messages", 'type="submit">Approve<', "Deny<"):
        assert shown in page
    assert "Approve with biometric" not in page
    admin.post(f"/approvals/{approval.pk}/approve", {"digest": approval.digest})
    assert ApprovalRequest.objects.get(pk=approval.pk).decision == Decision.APPROVED


def test_with_a_passkey_the_biometric_is_the_first_button(scene: Scene) -> None:
    person = Person(scene.admin)
    person.register()
    approval = scene.submit({"n": 1})
    page = person.client.get(f"/m/approvals/{approval.pk}").content.decode()
    biometric, plain = page.index("Approve with biometric"), page.index('type="submit">Approve<')
    assert biometric < plain
    assert 'class="button button-approve" type="submit">Approve with biometric' in page
    assert page.index('type="submit">Deny<') < page.index(">Deny with biometric<")


def test_nothing_of_it_is_for_strangers(scene: Scene, stranger: Client) -> None:
    approval = scene.submit({"n": 1})
    assert stranger.get(f"/m/approvals/{approval.pk}").status_code == 404
    assert str(approval.pk) not in stranger.get("/m/approvals").content.decode()
    assert stranger.get(f"/m/approvals/{uuid4()}").status_code == 404
    assert Client().get("/m/approvals")["Location"].startswith("/sign-in?next=/m/approvals")
