"""What is refused for want of a good passkey, or of any, is on record; what strangers try is not, and is no load."""

import json
from functools import partial
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents.passkey_models import PasskeyChallenge, Purpose
from agents.passkey_views import OPTIONS_PER_MINUTE
from agents.passkeys import MOST_CHALLENGES, begin_signing
from approvals.tasks import sweep
from audit.models import AuditEvent
from platforms.connecting import change_scope
from platforms.definitions import ScopeDefinition
from platforms.models import Scope
from tests.authenticator import ORIGIN, Lies, encode
from tests.pages.passkeys import FRAGMENT, Person, begin_sign_in, decide, finish_sign_in
from tests.pages.scene import Scene, signed_in


def told(event: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(event=event))


def test_a_passkey_that_did_not_do_is_on_record_once_a_minute(scene: Scene) -> None:
    person = Person(scene.admin)
    person.register()
    approval = scene.submit({"n": 1})
    for _ in range(3):
        assert decide(person, approval, lies=Lies(flags=1)).status_code == 400
    (row,) = told("passkey.refused")
    assert (row.metadata["check"], row.metadata["what"], row.actor_label) == (
        "assertion",
        "decide",
        person.member.user.email,
    )


def test_a_plain_decision_where_a_passkey_is_demanded_is_on_record_once_a_minute(scene: Scene) -> None:
    Scope.objects.update(step_up="passkey")
    approval, client = scene.submit({"n": 1}), signed_in(scene.admin)
    for button in ("approve", "deny", "approve"):
        client.post(f"/approvals/{approval.pk}/{button}", {"digest": approval.digest}, headers=FRAGMENT)
    (row,) = told("approval.passkey_missing")
    assert (row.approval_id, row.result) == (approval.pk, "denied")


def test_who_knows_a_credential_id_alone_writes_nothing_into_the_log(scene: Scene) -> None:
    """As on a member's receipt. Only the device knows the user handle."""
    person = Person(scene.admin)
    passkey = person.register()
    client = Client()
    options = begin_sign_in(client)
    said = {"type": "webauthn.get", "challenge": options["challenge"], "origin": ORIGIN, "crossOrigin": False}
    name = encode(bytes(passkey.credential_id))
    response = {
        "clientDataJSON": encode(json.dumps(said).encode()),
        "authenticatorData": encode(bytes(37)),
        "signature": encode(bytes(70)),
        "userHandle": encode(bytes(32)),
    }
    answer = {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}
    assert finish_sign_in(client, json.dumps(answer)).status_code == 400
    assert told("member.sign_in_failed") == []
    assert finish_sign_in(client, person.device.get(begin_sign_in(client), Lies(flags=1))).status_code == 400
    assert len(told("member.sign_in_failed")) == 1


def test_challenges_of_one_person_are_few_and_gone_with_the_sweep(scene: Scene) -> None:
    now = timezone.now()
    for _ in range(MOST_CHALLENGES + 5):
        begin_signing(user=scene.admin.user, purpose=Purpose.DECIDE, form=uuid4().bytes, now=now)
    assert PasskeyChallenge.objects.count() == MOST_CHALLENGES
    PasskeyChallenge.objects.update(expires_at=now)
    sweep()
    assert PasskeyChallenge.objects.count() == 0


def test_a_demand_that_was_lowered_is_named_with_what_it_was(scene: Scene) -> None:
    for demand in ("passkey", ""):
        change_scope(
            member=scene.admin,
            slug=scene.platform.slug,
            definition=ScopeDefinition(name="chat:write", rules=["* /api/**"], covers=None, step_up=demand),
            is_new=False,
            request_id=uuid4(),
            now=timezone.now(),
        )
    assert [row.metadata["step_up"] for row in told("platform.changed")] == [
        {"chat:write": {"before": "", "after": "passkey"}},
        {"chat:write": {"before": "passkey", "after": ""}},
    ]


OPTIONS = {
    "sign-in": "/sign-in/passkey/options",
    "confirm": "/settings/confirm/passkey/options",
    "register": "/settings/passkeys/options",
    "decide": "/approvals/{}/approve/options",
}


@pytest.mark.parametrize("path", OPTIONS.values(), ids=OPTIONS.keys())
def test_who_asks_for_challenges_all_the_time_has_to_wait(
    scene: Scene, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step for itself, and each person: somebody else's go on. All in one moment, or some would be allowed again."""
    person, other = Person(scene.admin), Person(scene.approver)
    for one in (person, other):
        one.register()
        one.skip_confirming()
    approval, now = scene.submit({"n": 1}), timezone.now()
    monkeypatch.setattr("agentvalet.middleware.timezone", SimpleNamespace(now=lambda: now))
    for step in OPTIONS.values():
        sent = {"digest": approval.digest}
        ask = partial(person.client.post, step.format(approval.pk), sent)
        if step != path:
            assert ask().status_code == 200
            continue
        answers = [ask() for _ in range(OPTIONS_PER_MINUTE + 1)]
        allowed = [answer.status_code for answer in answers[: OPTIONS_PER_MINUTE - 1]]  # registering took one
        assert set(allowed) == {200}
        assert answers[-1].status_code == 429
        assert 0 < int(answers[-1]["Retry-After"]) <= 60
        assert "Too many requests" in answers[-1].content.decode()
        elsewhere = {"REMOTE_ADDR": "198.51.100.7"}
        assert other.client.post(step.format(approval.pk), sent, **elsewhere).status_code == 200  # type: ignore[arg-type]
