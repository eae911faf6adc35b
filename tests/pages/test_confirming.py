"""What asks a person again who they are: nothing is done before, and nothing that was sent is lost."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis.exceptions import RedisError

from agents.confirming import NOT_THAT_FORM
from agents.lifecycle import NameRefused
from agents.models import Agent, Invite, Member
from audit.models import AuditEvent
from tests.pages.passkeys import FRAGMENT, Person
from tests.pages.scene import PASSWORD, Scene, signed_in

ASKS = "Confirm that it is you"


@pytest.fixture
def found(scene: Scene) -> Client:
    """A session that somebody finds: signed in, and nobody has shown who they are."""
    return signed_in(scene.admin, confirmed=False)


def sealed_in(response: Any) -> str:
    (sealed,) = re.findall(r'name="confirm_form" value="([^"]+)"', response.content.decode())
    return str(sealed)


def again(response: Any, password: str = PASSWORD) -> dict[str, str]:
    """What the page that asks sends."""
    return {"confirm_form": sealed_in(response), "confirm_password": password}


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Requests come at one moment, and from the call on at that moment and so much more."""
    start = timezone.now()

    def move(by: timedelta) -> None:
        monkeypatch.setattr("agentvalet.middleware.timezone", SimpleNamespace(now=lambda: start + by))

    move(timedelta(0))
    return move


def new_agent(client: Client, **more: str) -> Any:
    return client.post("/agents/new", {"name": "Release <bot>", "kind": "bind", **more})


def test_it_asks_first_and_then_does_what_was_sent(scene: Scene, found: Client) -> None:
    response = new_agent(found)
    page = response.content.decode()
    assert (response.status_code, ASKS in page, Agent.objects.filter(name="Release <bot>").count()) == (200, True, 0)
    assert "no-store" in response["Cache-Control"]
    before = found.cookies["agentvalet_session"].value
    done = found.post("/agents/new", again(response))
    assert "bsec_" in done.content.decode()
    assert Agent.objects.filter(name="Release <bot>").count() == 1
    assert found.cookies["agentvalet_session"].value != before
    assert ASKS not in found.post(f"/agents/{scene.agent.pk}/install-token").content.decode()


def test_the_page_that_asks_shows_nothing_of_what_was_sent_and_the_form_still_arrives_whole(found: Client) -> None:
    """Also where the password is wrong at first; what was shown to confirm stays out of it."""
    sent = {
        "label": "Zebra & <b>",
        "credential": "xoxb-very-secret",
        "is_default": "on",
        "hint": ["giraffe", "gazelle"],
    }
    pages = [found.post("/platforms/acme-chat/connect", sent | {"confirm_password": "wrong-first"})]
    pages.append(found.post("/platforms/acme-chat/connect", again(pages[0], "wrong-second")))
    for page in pages:
        text = page.content.decode()
        assert page.status_code == 400
        assert re.findall("xoxb|secret|wrong-|Zebra|giraffe|gazelle|is_default|hint", text) == []
        assert len(re.findall('name="confirm_form" value="[^"]+"', text)) == 1
    done = found.post("/platforms/acme-chat/connect", again(pages[1]))
    assert done.status_code == 303
    assert dict(done.wsgi_request.POST.lists()) == {name: [value] if isinstance(value, str) else value
                                                    for name, value in sent.items()}  # fmt: skip


@pytest.mark.parametrize("of_another", ["session", "user", "path", "time", "future", "bit", "nonsense", "nothing"])
def test_a_sealed_form_of_anybody_or_anything_else_is_refused(
    scene: Scene, found: Client, of_another: str, moved: Callable[[timedelta], None]
) -> None:
    """In one sentence, whether or not the person has confirmed; what was waiting is what is lost."""
    sealed = sealed_in(new_agent(found))
    client, path = found, "/agents/new"
    match of_another:
        case "session":
            client = signed_in(scene.admin, confirmed=False)
            new_agent(client)  # it has sealed forms of its own
        case "user":
            client = signed_in(scene.approver, confirmed=False)
            session = client.session  # all that it holds is the admin's
            session["pending_forms"] = found.session["pending_forms"]
            session.save()
        case "path":
            path = "/settings/members/invite"
        case "time":
            moved(timedelta(minutes=5))
        case "future":
            moved(timedelta(seconds=-1))
        case "bit":
            sealed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
        case "nonsense":
            sealed = "é"
        case "nothing":
            sealed = ""
    response = client.post(path, {"confirm_form": sealed, "confirm_password": PASSWORD})
    assert (response.status_code, NOT_THAT_FORM in response.content.decode()) == (400, True)
    assert Agent.objects.filter(name="Release <bot>").count() == 0


def test_a_sealed_form_outlives_a_confirmation_in_another_tab_for_almost_five_minutes(
    found: Client, moved: Callable[[timedelta], None]
) -> None:
    """The session has got a new key meanwhile, and is confirmed."""
    sealed = sealed_in(new_agent(found))
    found.post("/settings/confirm", {"password": PASSWORD})
    moved(timedelta(minutes=4, seconds=59))
    assert "bsec_" in found.post("/agents/new", {"confirm_form": sealed}).content.decode()


def test_a_form_that_waited_is_used_once(found: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pressed twice there is one agent, and the page says so. What came to nothing may come once more."""
    waiting = again(new_agent(found))
    with monkeypatch.context() as broken:
        broken.setattr("platforms.agent_views.make_agent", refuse_to_make)
        assert found.post("/agents/new", waiting).status_code == 400
        broken.setattr("agents.pending_forms.cache.add", valkey_away)
        assert found.post("/agents/new", waiting).status_code == 503
    assert "bsec_" in found.post("/agents/new", waiting).content.decode()
    second, by_script = (found.post("/agents/new", waiting, headers=headers) for headers in ({}, FRAGMENT))
    for refused in (second, by_script):
        assert (refused.status_code, "That was already done" in refused.content.decode()) == (409, True)
    assert Agent.objects.filter(name="Release <bot>").count() == 1


def refuse_to_make(**_: Any) -> None:
    raise NameRefused("Not that one.")


def valkey_away(*_: Any, **__: Any) -> bool:
    raise RedisError("away")


def test_a_form_that_could_not_come_back_is_not_sealed(found: Client, settings: Settings) -> None:
    """Sealed it is a third longer. Just below what comes back it waits, above it one sentence says what to do."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
    waits = again(new_agent(found, text="x" * 34_000))
    assert found.post("/agents/new", waits).status_code == 200
    other = signed_in(Member.objects.get(role="admin"), confirmed=False)
    response = new_agent(other, text="x" * 37_000)
    assert (response.status_code, "This form is too large to wait" in response.content.decode()) == (413, True)


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
        "disconnect-connection",
        "approve-registration",
        "withdraw-invitation",
        "delete-delegate",
        "cli-auth",
        "platform-address",
        "delete-scope",
    }
