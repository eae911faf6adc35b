"""Passkeys through HTTP: registering only after showing again who one is, signing in, deleting; and every bad answer."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.passkey_models import Passkey, PasskeyChallenge
from agents.passkeys import forget_challenges
from audit.models import AuditEvent
from tests.authenticator import AT, EDDSA, ES256, RS256, UP, UV, Authenticator, Lies, encode
from tests.pages.passkeys import Person, begin_sign_in, finish_sign_in, flipped
from tests.pages.scene import PASSWORD, Scene, signed_in

REFUSED = "This passkey could not be used. Nothing was done: try again."
TOO_LATE = "That took too long, or was used before. Nothing was done: try again."


@pytest.fixture
def person(scene: Scene) -> Person:
    return Person(scene.admin)


def is_in(client: Client) -> bool:
    return bool(client.get("/approvals").status_code == 200)


# --- Registering


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
def test_a_passkey_is_registered_listed_and_signs_in(scene: Scene, algorithm: int) -> None:
    person = Person(scene.admin, Authenticator(algorithm=algorithm))
    passkey = person.register("Work <b>phone")
    assert (passkey.label, passkey.sign_count, passkey.transports) == ("Work <b>phone", 0, ["internal"])
    assert "Work &lt;b&gt;phone" in person.client.get("/settings").content.decode()
    stranger = Client()
    response = finish_sign_in(stranger, person.device.get(begin_sign_in(stranger)), next="/agents")
    assert (response.status_code, response["Location"]) == (302, "/agents")
    assert is_in(stranger)
    event = AuditEvent.objects.get(event="member.signed_in")
    assert (event.actor_label, event.metadata["by"]) == ("admin@acme.example", "passkey")
    assert Passkey.objects.get().last_used_at is not None


def test_options_demand_user_verification_and_name_our_site(person: Person) -> None:
    person.skip_confirming()
    made = person.register_options().json()
    assert made["rp"] == {"id": "localhost", "name": "AgentValet"}
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["authenticatorSelection"]["residentKey"] == "required"
    asked = begin_sign_in(Client(headers={"host": "localhost"}))
    assert (asked["rpId"], asked["userVerification"], asked.get("allowCredentials", [])) == (
        "localhost",
        "required",
        [],
    )


def test_a_found_session_registers_and_deletes_nothing(person: Person) -> None:
    passkey = person.register()
    fresh = Person(person.member, person.device)  # signed in, not confirmed
    assert fresh.register_options().status_code == 403
    assert fresh.register_options().content.decode() == "Confirm first that it is you."
    response = fresh.send_new("{}")
    assert (response.status_code, "Confirm first that it is you." in response.content.decode()) == (403, True)
    assert fresh.client.post(f"/settings/passkeys/{passkey.pk}/delete").status_code == 403
    assert Passkey.objects.count() == 1
    assert "Register</button>" not in fresh.client.get("/settings").content.decode()


def test_a_confirmation_is_good_for_five_minutes_and_for_the_session_it_was_given_in(person: Person) -> None:
    before = person.client.cookies["agentvalet_session"].value
    person.confirm()
    after = person.client.cookies["agentvalet_session"].value
    assert before != after
    assert person.register_options().status_code == 200
    store = person.client.session
    store["confirmed_at"] = (timezone.now() - timedelta(minutes=5, seconds=1)).timestamp()
    store.save()
    assert person.register_options().status_code == 403


def test_a_wrong_password_confirms_nothing_is_on_record_and_is_counted(person: Person) -> None:
    response = person.confirm("wrong")
    assert (response.status_code, "That is not your password." in response.content.decode()) == (400, True)
    assert person.register_options().status_code == 403
    assert AuditEvent.objects.get(event="member.sign_in_failed").metadata["by"] == "password, to confirm"
    statuses = [person.confirm("wrong").status_code for _ in range(12)]
    assert statuses[-1] == 429
    assert person.confirm().status_code == 429


def test_a_passkey_confirms_as_the_password_does(person: Person) -> None:
    person.register()
    fresh = Person(person.member, person.device)
    options = fresh.client.post("/settings/confirm/passkey/options").json()
    assert [entry["type"] for entry in options["allowCredentials"]] == ["public-key"]
    response = fresh.client.post("/settings/confirm/passkey", {"credential": person.device.get(options)})
    assert response.status_code == 302
    assert fresh.register_options().status_code == 200


def test_one_purposes_challenge_is_no_others(person: Person) -> None:
    person.register()
    fresh = Person(person.member, person.device)
    to_sign_in = begin_sign_in(Client())
    response = fresh.client.post("/settings/confirm/passkey", {"credential": person.device.get(to_sign_in)})
    assert TOO_LATE in response.content.decode()
    to_confirm = fresh.client.post("/settings/confirm/passkey/options").json()
    stranger = Client()
    assert finish_sign_in(stranger, person.device.get(to_confirm)).status_code == 400
    assert not is_in(stranger)


def test_a_passkey_is_registered_once_for_one_person(scene: Scene, person: Person) -> None:
    person.register()
    other = Person(scene.approver)
    other.skip_confirming()
    known = person.device.credentials[0].id
    credential = other.device.create(other.register_options().json(), Lies(credential_id=known))
    forged = json.loads(credential)
    forged["id"] = forged["rawId"] = encode(known)
    response = other.send_new(json.dumps(forged))
    assert "This passkey is registered already." in response.content.decode()
    assert Passkey.objects.count() == 1


def test_a_second_passkey_has_the_handle_of_the_first(person: Person) -> None:
    first, second = person.register("One"), person.register("Two")
    assert bytes(first.user_handle) == bytes(second.user_handle)
    assert len(person.register_options().json()["excludeCredentials"]) == 2


def test_registering_and_deleting_are_on_record_and_a_deleted_passkey_signs_nothing(person: Person) -> None:
    passkey = person.register()
    options = begin_sign_in(Client())
    assert person.client.post(f"/settings/passkeys/{passkey.pk}/delete").status_code == 302
    events = AuditEvent.objects.filter(event__startswith="passkey.").order_by("seq")
    assert [event.event for event in events] == ["passkey.registered", "passkey.deleted"]
    assert [event.metadata["passkey_id"] for event in events] == [str(passkey.pk)] * 2
    assert all(len(event.metadata["public_key_sha256"]) == 64 for event in events)
    client = Client()
    assert finish_sign_in(client, person.device.get(options)).status_code == 400
    assert not is_in(client)


def test_nobody_deletes_somebody_elses_passkey(scene: Scene, person: Person) -> None:
    passkey = person.register("Kitchen clock")
    other = Person(scene.approver)
    other.skip_confirming()
    assert other.client.post(f"/settings/passkeys/{passkey.pk}/delete").status_code == 404
    assert passkey.label not in other.client.get("/settings").content.decode()
    assert Passkey.objects.count() == 1


@pytest.mark.parametrize("label", ["", " ", "x" * 101, "\0"])
def test_a_passkey_needs_a_name(person: Person, label: str) -> None:
    person.skip_confirming()
    response = person.send_new(person.device.create(person.register_options().json()), label)
    assert (response.status_code, Passkey.objects.count()) == (400, 0)


BAD_REGISTRATIONS: dict[str, Lies] = {
    "another challenge": Lies(challenge=bytes(32)),
    "another origin": Lies(origin="http://localhost:8081"),
    "an origin that begins alike": Lies(origin="http://localhost:8080.evil.example"),
    "another scheme": Lies(origin="https://localhost:8080"),
    "another site's id": Lies(rp_id="evil.example"),
    "an assertion's type": Lies(type="webauthn.get"),
    "in a frame": Lies(client_data={"crossOrigin": True}),
    "in a frame, by its other name": Lies(client_data={"topOrigin": "https://evil.example"}),
    "nobody there": Lies(flags=UV),
    "nobody verified": Lies(flags=UP),
    "another id inside": Lies(credential_id=b"x" * 32),
    "more than it says": Lies(extra=b"\x00" * 64),
    "oversized": Lies(extra=b"\x00" * 20_000),
    "deep CBOR": Lies(flags=UP | UV | 0x80, extra=b"\x81" * 5000 + b"\x00"),
}


@pytest.mark.parametrize("lies", BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS.keys())
def test_a_bad_new_passkey_is_refused(person: Person, lies: Lies) -> None:
    person.skip_confirming()
    response = person.send_new(person.device.create(person.register_options().json(), lies))
    assert response.status_code == 400
    assert Passkey.objects.count() == 0
    assert "Traceback" not in response.content.decode()


def test_a_registration_is_answered_once_in_time_and_by_the_one_who_began(scene: Scene, person: Person) -> None:
    person.skip_confirming()
    options = person.register_options().json()
    other = Person(scene.approver)
    other.skip_confirming()
    assert other.send_new(other.device.create(options)).status_code == 400
    credential = person.device.create(person.register_options().json())
    assert person.send_new(credential).status_code == 302
    assert TOO_LATE in person.send_new(credential).content.decode()
    late = person.device.create(person.register_options().json())
    PasskeyChallenge.objects.update(expires_at=timezone.now())
    assert TOO_LATE in person.send_new(late).content.decode()
    assert Passkey.objects.count() == 1


# --- Signing in

BAD_ASSERTIONS: dict[str, Lies] = {
    "another challenge": Lies(challenge=bytes(32)),
    "another origin": Lies(origin="https://evil.example"),
    "another port": Lies(origin="http://localhost:8081"),
    "another site's id": Lies(rp_id="evil.example"),
    "a registration's type": Lies(type="webauthn.create"),
    "a type of its own": Lies(type="payment.get"),
    "in a frame": Lies(client_data={"crossOrigin": True}),
    "in a frame, more or less": Lies(client_data={"crossOrigin": "true"}),
    "nobody there": Lies(flags=UV),
    "nobody verified": Lies(flags=UP),
    "somebody else's handle": Lies(user_handle=b"x" * 32),
    "no handle": Lies(no_user_handle=True),
    "an unknown credential": Lies(credential_id=b"x" * 32),
    "a counter that stands": Lies(count=0),
    "attested data that is not there": Lies(flags=UP | UV | AT),
    "extensions that are not there": Lies(flags=UP | UV | 0x80),
    "more than it says": Lies(extra=b"\xa0"),
    "oversized CBOR": Lies(flags=UP | UV | 0x80, extra=b"\x9b" + b"\xff" * 8),
    "deep CBOR": Lies(flags=UP | UV | 0x80, extra=b"\x81" * 5000 + b"\x00"),
    "too long": Lies(client_data={"x": "y" * 20_000}),
}


@pytest.mark.parametrize("name", BAD_ASSERTIONS)
def test_a_bad_assertion_lets_nobody_in(person: Person, name: str) -> None:
    """A challenge that we did not give is one that was used or is over; of all else nobody is told what is wrong."""
    lies = BAD_ASSERTIONS[name]
    person.register()
    client = Client()
    finish_sign_in(client, person.device.get(begin_sign_in(client)))
    client.post("/sign-out")
    before = Passkey.objects.get()
    response = finish_sign_in(client, person.device.get(begin_sign_in(client), lies))
    assert response.status_code == 400
    html = response.content.decode()
    sentence, other = (TOO_LATE, REFUSED) if name == "another challenge" else (REFUSED, TOO_LATE)
    assert (sentence in html, other in html) == (True, False)
    assert not is_in(client)
    assert Passkey.objects.get().sign_count == before.sign_count


@pytest.mark.parametrize("part", ["clientDataJSON", "authenticatorData", "signature"])
def test_no_bit_of_an_assertion_can_be_turned_over(person: Person, part: str) -> None:
    person.register()
    for bit in range(3, 320, 29):
        client = Client()
        response = finish_sign_in(client, flipped(person.device.get(begin_sign_in(client)), part, bit))
        assert (response.status_code, is_in(client)) == (400, False), bit
        client.post("/sign-in/passkey/options")


MALFORMED = [
    "",
    "x",
    "[]",
    "null",
    '{"id":1}',
    "{" * 3000,
    '{"type":"public-key"}',
    "\ud800",
    "\0",
    '{"id":"a","id":"a"}',
]


@pytest.mark.parametrize("credential", MALFORMED)
def test_nonsense_is_refused(person: Person, credential: str) -> None:
    person.register()
    text = credential.encode("utf-8", "replace").decode()
    assert finish_sign_in(Client(), text).status_code == 400


@pytest.mark.parametrize("field", ["id", "rawId", "type", "response"])
@pytest.mark.parametrize("value", [None, 1, [], {}, "", "é", "a=", "+/"])
def test_a_field_of_another_kind_is_refused(person: Person, field: str, value: Any) -> None:
    person.register()
    client = Client()
    data = json.loads(person.device.get(begin_sign_in(client))) | {field: value}
    assert finish_sign_in(client, json.dumps(data)).status_code == 400
    assert not is_in(client)


def test_an_assertion_signs_in_once_and_in_time(person: Person) -> None:
    person.register()
    client, thief = Client(), Client()
    credential = person.device.get(begin_sign_in(client))
    assert finish_sign_in(client, credential).status_code == 302
    assert TOO_LATE in finish_sign_in(thief, credential).content.decode()
    late = person.device.get(begin_sign_in(thief))
    PasskeyChallenge.objects.update(expires_at=timezone.now())
    assert TOO_LATE in finish_sign_in(thief, late).content.decode()
    assert not is_in(thief)


def test_a_challenge_is_gone_after_one_wrong_answer(person: Person) -> None:
    person.register()
    client = Client()
    options = begin_sign_in(client)
    finish_sign_in(client, person.device.get(options, Lies(flags=UP)))
    assert TOO_LATE in finish_sign_in(client, person.device.get(options)).content.decode()


def test_a_synced_passkey_counts_nothing_and_is_no_copy(scene: Scene) -> None:
    person = Person(scene.admin, Authenticator(counts=False))
    person.register()
    for _ in range(3):
        client = Client()
        assert finish_sign_in(client, person.device.get(begin_sign_in(client))).status_code == 302
    assert Passkey.objects.get().sign_count == 0


def test_who_may_no_longer_sign_in_does_not_by_passkey(scene: Scene, person: Person) -> None:
    person.register()
    scene.admin.user.is_active = False
    scene.admin.user.save()
    client = Client()
    assert finish_sign_in(client, person.device.get(begin_sign_in(client))).status_code == 400
    assert not is_in(client)


def test_a_refused_passkey_is_on_record_once_a_minute(person: Person) -> None:
    person.register()
    for _ in range(3):
        client = Client()
        finish_sign_in(client, person.device.get(begin_sign_in(client), Lies(flags=UP)))
    (event,) = AuditEvent.objects.filter(event="member.sign_in_failed")
    assert (event.actor_label, event.metadata["by"]) == ("admin@acme.example", "passkey")


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_passkey_leads_to_no_other_site(person: Person, target: str) -> None:
    person.register()
    client = Client()
    response = finish_sign_in(client, person.device.get(begin_sign_in(client)), next=target)
    assert response["Location"] == "/"


def test_origins_come_from_the_settings_whatever_host_is_asked(person: Person, settings: Settings) -> None:
    person.register()
    settings.ALLOWED_HOSTS = ["*"]
    client = Client(headers={"host": "evil.example"})
    options = begin_sign_in(client)
    assert options["rpId"] == "localhost"
    assert finish_sign_in(client, person.device.get(options, Lies(origin="http://evil.example"))).status_code == 400
    settings.PUBLIC_URL = "https://Valet.Example.com:443"
    options = begin_sign_in(client)
    assert options["rpId"] == "valet.example.com"
    honest = Lies(origin="https://valet.example.com", rp_id="valet.example.com")
    assert finish_sign_in(client, person.device.get(options, honest)).status_code == 302


def test_an_address_is_no_place_for_passkeys_and_the_page_says_so(scene: Scene, settings: Settings) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8080"
    assert "Passkeys need a name" in signed_in(scene.admin).get("/settings").content.decode()
    assert "Sign in with a passkey" not in Client().get("/sign-in").content.decode()


PASSKEY_POSTS = [
    "/sign-in/passkey",
    "/sign-in/passkey/options",
    "/settings/confirm",
    "/settings/confirm/passkey",
    "/settings/confirm/passkey/options",
    "/settings/passkeys",
    "/settings/passkeys/options",
    "/settings/passkeys/00000000-0000-4000-8000-000000000000/delete",
]


@pytest.mark.parametrize("path", PASSKEY_POSTS)
def test_every_step_is_a_post_of_our_own_form(scene: Scene, path: str) -> None:
    client = signed_in(scene.admin, enforce_csrf_checks=True)
    assert client.get(path).status_code == 405
    assert client.post(path, {"password": PASSWORD}).status_code == 403
    assert PasskeyChallenge.objects.count() == 0


def test_challenges_that_nobody_answered_are_forgotten(person: Person) -> None:
    begin_sign_in(Client())
    forget_challenges(now=timezone.now())
    assert PasskeyChallenge.objects.count() == 1
    forget_challenges(now=timezone.now() + timedelta(minutes=3))
    assert PasskeyChallenge.objects.count() == 0
