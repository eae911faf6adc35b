"""What asks a person again who they are: nothing is done before, and nothing that was sent is lost."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from agents.models import Agent, Invite, Member
from audit.models import AuditEvent
from tests.pages.passkeys import FRAGMENT, Person
from tests.pages.scene import PASSWORD, Scene, signed_in

ASKS = "Confirm that it is you"


@pytest.fixture
def found(scene: Scene) -> Client:
    """A session that somebody finds: signed in, and nobody has shown who they are."""
    return signed_in(scene.admin, confirmed=False)


def new_agent(client: Client, **more: str) -> Any:
    return client.post("/agents/new", {"name": "Release <bot>", "kind": "bind", **more})


def test_it_asks_first_and_then_does_what_was_sent(scene: Scene, found: Client) -> None:
    response = new_agent(found)
    page = response.content.decode()
    assert (response.status_code, ASKS in page, Agent.objects.filter(name="Release <bot>").count()) == (200, True, 0)
    assert "no-store" in response["Cache-Control"]
    assert '<input type="hidden" name="name" value="Release &lt;bot&gt;">' in page
    before = found.cookies["agentvalet_session"].value
    done = new_agent(found, confirm_password=PASSWORD)
    assert "bsec_" in done.content.decode()
    assert Agent.objects.filter(name="Release <bot>").count() == 1
    assert found.cookies["agentvalet_session"].value != before
    assert ASKS not in found.post(f"/agents/{scene.agent.pk}/install-token").content.decode()


def test_every_value_of_a_field_is_carried_and_what_was_shown_is_not(found: Client) -> None:
    page = new_agent(found, grant=["a", "b"], confirm_password="wrong", csrfmiddlewaretoken="x").content.decode()  # type: ignore[arg-type]
    assert re.findall(r'name="grant" value="(\w)"', page) == ["a", "b"]
    assert "wrong" not in page
    assert page.count('name="confirm_password"') == 1


def test_a_wrong_password_does_nothing_is_on_record_and_is_counted(found: Client) -> None:
    response = new_agent(found, confirm_password="wrong")
    assert (response.status_code, "That is not your password." in response.content.decode()) == (400, True)
    assert AuditEvent.objects.get(event="member.sign_in_failed").metadata["by"] == "password, to confirm"
    assert [new_agent(found, confirm_password="wrong").status_code for _ in range(12)][-1] == 429
    assert new_agent(found, confirm_password=PASSWORD).status_code == 429
    assert Invite.objects.count() == 0


def test_it_is_good_for_five_minutes_and_not_from_the_future(scene: Scene) -> None:
    client = signed_in(scene.admin)
    for offset in (timedelta(minutes=-5, seconds=-1), timedelta(minutes=1)):
        session = client.session
        session["confirmed_at"] = (timezone.now() + offset).timestamp()
        session.save()
        assert ASKS in new_agent(client).content.decode()


def test_a_passkey_does_as_the_password_does(scene: Scene) -> None:
    registered = Person(scene.admin)
    registered.register()
    fresh = Person(scene.admin, registered.device)
    assert 'data-field="confirm_credential"' in new_agent(fresh.client).content.decode()
    options = fresh.client.post("/settings/confirm/passkey/options").json()
    answer = fresh.device.get(options)
    assert "bsec_" in new_agent(fresh.client, confirm_credential=answer).content.decode()
    again = Person(scene.admin, registered.device)
    assert new_agent(again.client, confirm_credential=answer).status_code == 400
    assert new_agent(again.client, confirm_credential=json.dumps({})).status_code == 400


def test_a_script_is_told_in_one_sentence(found: Client) -> None:
    response = found.post("/agents/new", {"name": "x", "kind": "bind"}, headers=FRAGMENT)
    assert (response.status_code, response.content.decode()) == (403, "Confirm first that it is you.")


def test_the_form_that_asks_is_ours(scene: Scene) -> None:
    client = signed_in(scene.admin, enforce_csrf_checks=True, confirmed=False)
    assert new_agent(client, confirm_password=PASSWORD).status_code == 403
    assert Invite.objects.count() == 0


def test_somebody_elses_password_confirms_nothing(scene: Scene) -> None:
    scene.approver.user.set_password("another good phrase")
    scene.approver.user.save()
    client = signed_in(scene.approver, confirmed=False)
    response = client.post(f"/settings/members/{scene.auditor.pk}/remove", {"confirm_password": PASSWORD})
    assert (response.status_code, Member.objects.count()) == (400, 3)


def test_what_asks_is_listed_where_all_routes_are() -> None:
    """A view that makes a secret, shows one, or changes who may do what belongs into `sure`: extend this by hand."""
    patterns = [entry for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)]
    asking = {entry.name for entry in patterns if getattr(entry.callback, "is_sure", False)}
    assert asking >= {
        "new-agent",
        "install-token",
        "bind-code",
        "change-password",
        "invite-member",
        "change-role",
        "remove-member",
        "add-delegate",
        "set-delegate",
        "connect-platform",
        "connect-entry",
        "reauth-connection",
    }
