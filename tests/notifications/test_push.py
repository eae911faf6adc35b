"""Pushing: through the guarded client to a push service in its own process, which checks and decrypts everything."""

import re
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import jwt
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Role
from approvals import transitions
from approvals.models import ApprovalRequest
from approvals.services import approve, deny
from approvals.telling import headline
from audit.models import AuditEvent
from notifications import outbox, push
from notifications.deliveries import Channel, Delivery, Seen
from notifications.devices import PushDevice
from notifications.tasks import sweep
from tests.pages.spoofs import SPOOFS
from tests.push_fixtures import PushService
from tests.world import Side, submit

pytestmark = pytest.mark.django_db


def send_due(now: datetime | None = None) -> None:
    """What the messenger does with everything that is due."""
    now = now or timezone.now()
    for pk in outbox.due(channel=Channel.PUSH, now=now).values_list("pk", flat=True):
        push.deliver(delivery_id=pk, now=now)


def the_delivery() -> Delivery:
    return Delivery.objects.get()


def decide(side: Side, approval: ApprovalRequest, *, allow: bool) -> None:
    verb: Any = approve if allow else deny
    verb(member=side.admin, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())


def test_a_waiting_call_is_pushed_to_those_who_may_decide_and_to_nobody_else(
    acme: Side, stranger: Side, push_service: PushService
) -> None:
    for member in (acme.admin, acme.approver, stranger.admin):
        push_service.device(member, name=f"of {member.user.email}")
    reader = push_service.device(acme.approver, name="a reader's by now")
    auditor = acme.auditor
    PushDevice.objects.filter(pk=reader.pk).update(member=auditor)
    approval = submit(acme, body='{"password":"in the call"}', reason="because")
    send_due()
    told = sorted(Delivery.objects.values_list("recipient", flat=True))
    assert told == [
        "admin@acme.example, of admin@acme.example",
        "approver@acme.example, of approver@acme.example",
    ]
    assert push_service.messages == 2 * [
        {
            "kind": "ask",
            "tag": f"approval:{approval.pk}",
            "url": f"/approvals/{approval.pk}",
            "title": "Approval required",
            "body": "Acme bot → acme-chat/chat:write",
        }
    ]
    first = push_service.received[0]
    assert int(first["headers"]["TTL"]) <= 600
    assert first["headers"]["Urgency"] == "high"
    assert Delivery.objects.filter(arrived_at__isnull=False, next_try_at=None).count() == 2
    assert PushDevice.objects.filter(last_success_at__isnull=False).count() == 2


def test_nothing_is_sent_twice(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    submit(acme)
    pk = the_delivery().pk
    for _ in range(3):
        push.deliver(delivery_id=pk, now=timezone.now())
    assert len(push_service.received) == 1


@pytest.mark.parametrize(
    "public_url",
    ["https://valet.example.com", "https://valet.example.com:8443", "https://valet", "https://[fd00::1]:8443"],
)
def test_the_contact_is_every_address_that_this_server_may_have(
    acme: Side, push_service: PushService, settings: Settings, public_url: str
) -> None:
    settings.PUSH_CONTACT = public_url
    push_service.device(acme.admin)
    submit(acme)
    send_due()
    (received,) = push_service.received
    token = re.search(r"t=([^,]+)", received["headers"]["Authorization"])
    assert token is not None
    claims = jwt.decode(token[1], options={"verify_signature": False})  # the service has verified it
    assert (claims["sub"], the_delivery().failure) == (public_url, "")
    assert the_delivery().arrived_at is not None


def test_what_goes_wrong_here_is_said_on_the_card_and_ends(
    acme: Side, push_service: PushService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = push_service.device(acme.admin)
    monkeypatch.setattr(push, "MAX_PAYLOAD", 10)
    submit(acme)
    now = timezone.now()
    for _ in range(20):
        send_due(now)
        assert the_delivery().failure == "The message could not be put together; the server's log says why."
        if the_delivery().next_try_at is None:
            break
        now = the_delivery().next_try_at or now
    assert the_delivery().next_try_at is None
    assert the_delivery().attempts <= len(outbox.BACKOFF) + 1
    device.refresh_from_db()
    assert device.last_failure == the_delivery().failure
    assert "too long to be pushed" in caplog.text


@pytest.mark.parametrize("status", ["404", "410"])
def test_a_subscription_that_is_gone_is_dropped_and_on_record(
    acme: Side, push_service: PushService, status: str
) -> None:
    push_service.device(acme.admin, behaviour=status)
    submit(acme)
    send_due()
    assert not PushDevice.objects.exists()
    assert the_delivery().failure == "The device no longer takes notifications and was removed."
    assert the_delivery().next_try_at is None
    row = AuditEvent.objects.get(event="push.dropped")
    assert row.owner_id == acme.owner.pk
    assert "Phone" in row.canonical


@pytest.mark.parametrize("status", ["500", "503", "429"])
def test_what_fails_for_now_is_tried_again_later_and_later(acme: Side, push_service: PushService, status: str) -> None:
    device = push_service.device(acme.admin, behaviour=status)
    submit(acme)
    now = timezone.now()
    pauses = []
    for _ in range(3):
        send_due(now)
        again = the_delivery().next_try_at
        assert again is not None
        pauses.append((again - now).total_seconds())
        now = again
    assert pauses == [2, 10, 30]
    assert the_delivery().failure == f"The push service answered {status}."
    device.refresh_from_db()
    assert device.last_failure == f"The push service answered {status}."
    push_service.behave(device, "201")
    send_due(now)
    assert the_delivery().arrived_at is not None
    assert the_delivery().failure == ""


def test_retry_after_is_honoured_in_seconds(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin, behaviour="429-77")
    submit(acme)
    now = timezone.now()
    send_due(now)
    assert the_delivery().next_try_at == now + timedelta(seconds=77)


def test_retry_after_is_read_as_a_date_too_and_nonsense_is_passed_over() -> None:
    now = timezone.now().replace(microsecond=0)
    assert push._wait(format_datetime(now + timedelta(seconds=90)), now) == timedelta(seconds=90)
    assert push._wait(format_datetime(now - timedelta(days=1)), now) == timedelta()
    assert push._wait("999999999", now) == timedelta(hours=1)
    far = ("Mon, 20 Nov 1995 19:12:08 +9999999999999999", "Mon, 99999999999999999999 Nov 1995 19:12:08 GMT")
    for nonsense in ("", "soon", "-5", "1e3", "1.5", "Fri, 99 Foo", "９", *far):
        assert push._wait(nonsense, now) is None


def test_what_could_only_be_tried_again_after_the_end_is_given_up(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin, behaviour="429-900")
    submit(acme)
    send_due()
    assert the_delivery().next_try_at is None
    assert the_delivery().failure == "The push service answered 429."


@pytest.mark.parametrize("status", ["400", "401", "403", "413", "301", "307"])
def test_what_will_never_work_is_not_tried_again_and_redirects_are_not_followed(
    acme: Side, push_service: PushService, status: str
) -> None:
    push_service.device(acme.admin, behaviour=status)
    submit(acme)
    send_due()
    assert the_delivery().next_try_at is None
    assert the_delivery().failure == f"The push service answered {status}."
    assert len(push_service.received) == 1


def test_a_service_that_hangs_is_left_after_a_while(
    acme: Side, push_service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "TIMEOUT", 0.5)
    push_service.device(acme.admin, behaviour="hang")
    submit(acme)
    send_due()
    assert the_delivery().next_try_at is not None
    assert "did not answer within 0.5 s" in the_delivery().failure


def test_the_address_guard_holds_for_what_browsers_name(
    acme: Side, push_service: PushService, settings: Settings
) -> None:
    push_service.device(acme.admin)
    settings.PRIVATE_TARGETS = []
    submit(acme)
    send_due()
    assert "a loopback address" in the_delivery().failure
    assert the_delivery().next_try_at is None
    assert push_service.received == []


def test_a_push_service_that_cannot_be_trusted_gets_nothing(
    acme: Side, push_service: PushService, settings: Settings
) -> None:
    push_service.device(acme.admin)
    settings.CA_BUNDLE = ""
    submit(acme)
    send_due()
    assert "a TLS certificate that is not trusted" in the_delivery().failure
    assert push_service.received == []


@pytest.mark.parametrize("allow", [True, False])
def test_nothing_is_pushed_after_the_decision(acme: Side, push_service: PushService, allow: bool) -> None:
    push_service.device(acme.admin)
    decide(acme, submit(acme), allow=allow)
    send_due()
    sweep()
    assert push_service.received == []
    assert the_delivery().next_try_at is None


def test_nothing_is_pushed_after_the_end(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    approval = submit(acme)
    send_due(approval.expires_at)
    assert push_service.received == []
    assert the_delivery().next_try_at is None


def test_nothing_is_pushed_to_who_may_not_decide_any_more(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    submit(acme)
    acme.admin.role = Role.AUDITOR
    acme.admin.save()
    send_due()
    assert push_service.received == []
    assert the_delivery().failure == "The device was removed, or its owner may not decide any more."


@pytest.mark.parametrize("how", ["approved", "denied", "expired"])
def test_whoever_was_told_is_told_when_it_is_settled(acme: Side, push_service: PushService, how: str) -> None:
    push_service.device(acme.admin)
    unreached = push_service.device(acme.approver, name="Laptop", behaviour="410")
    approval = submit(acme)
    send_due()
    if how == "expired":
        transitions.expire_due(now=approval.expires_at)
    else:
        decide(acme, approval, allow=how == "approved")
    assert not PushDevice.objects.filter(pk=unreached.pk).exists()
    send_due(approval.expires_at)
    (last,) = [one for one in push_service.messages if one["kind"] == "withdrawal"]
    assert last["tag"] == f"approval:{approval.pk}"
    first, *_, final = [one for one in push_service.received if one["message"]["tag"] == last["tag"]]
    assert final["headers"]["Topic"] == first["headers"]["Topic"]  # replaces what the service still holds
    assert final["message"] == last


def test_a_withdrawal_waits_for_what_is_being_sent(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    approval = submit(acme)
    now = timezone.now()
    sending = outbox.claim(delivery_id=the_delivery().pk, now=now)
    assert sending is not None
    decide(acme, approval, allow=True)
    send_due()
    assert push_service.received == []
    outbox.arrived(sending, now=now)
    send_due(timezone.now() + timedelta(seconds=2))
    assert [one["kind"] for one in push_service.messages] == ["withdrawal"]


def test_a_worker_that_died_is_followed_by_another_and_cannot_close_its_attempt(
    acme: Side, push_service: PushService
) -> None:
    push_service.device(acme.admin)
    submit(acme)
    now = timezone.now()
    dead = outbox.claim(delivery_id=the_delivery().pk, now=now)
    assert dead is not None
    lease = outbox.LEASES[Channel.PUSH]
    assert outbox.claim(delivery_id=dead.pk, now=now + lease / 2) is None
    second = outbox.claim(delivery_id=dead.pk, now=now + lease)
    assert second is not None
    outbox.give_up(dead, failure="late")
    assert the_delivery().under_way
    outbox.arrived(second, now=now)
    assert the_delivery().arrived_at == now


def test_half_of_the_time_being_over_those_are_reminded_who_have_not_seen_it(
    acme: Side, push_service: PushService
) -> None:
    for member in (acme.admin, acme.approver):
        push_service.device(member, name="Phone")
    approval = submit(acme)
    send_due()
    outbox.note_seen(member=acme.admin, tags=[f"approval:{approval.pk}"], now=timezone.now())
    half = approval.created_at + timedelta(seconds=300)
    assert outbox.remind_due(now=half - timedelta(seconds=1)) == 0
    assert outbox.remind_due(now=half) == 1
    assert outbox.remind_due(now=half) == 0
    send_due(half)
    (reminder,) = [one for one in push_service.messages if one["kind"] == "reminder"]
    assert reminder["title"] == "Still waiting: Approval required"
    told = Delivery.objects.get(purpose="reminder").recipient
    assert told == "approver@acme.example, Phone"


def test_nobody_is_reminded_of_what_is_settled(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    approval = submit(acme)
    decide(acme, approval, allow=False)
    assert outbox.remind_due(now=approval.created_at + timedelta(seconds=300)) == 0


def test_a_stranger_can_mark_nothing_as_seen(acme: Side, stranger: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    approval = submit(acme)
    outbox.note_seen(member=stranger.admin, tags=[f"approval:{approval.pk}"], now=timezone.now())
    assert not Seen.objects.exists()
    assert outbox.remind_due(now=approval.created_at + timedelta(seconds=300)) == 1
    assert Delivery.objects.filter(purpose="reminder").count() == 1


@pytest.mark.parametrize("spoof", SPOOFS, ids=[spoof.name for spoof in SPOOFS])
def test_a_name_cannot_mislead_on_the_lock_screen(acme: Side, push_service: PushService, spoof: Any) -> None:
    push_service.device(acme.admin)
    acme.agent.name = f"bot {spoof.text} bot"
    acme.agent.save()
    submit(acme)
    payload = push.payload_of(the_delivery()).decode()
    body = the_delivery().notification.body
    assert body.endswith(" → acme-chat/chat:write")
    assert not any(ord(one) < 32 or one in "\u202e\u200b\u2028\ufeff" for one in body)
    assert len(payload.encode()) < push.MAX_PAYLOAD


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x → github/read", "x ⟦U+2192⟧ github/read → acme-chat/chat:write"),
        ("x ⟶ github", "x ⟦U+27F6⟧ github → acme-chat/chat:write"),
        ("y" * 200, "y" * 60 + "… (cut) → acme-chat/chat:write"),
        ("z" * 55 + "\u202e" * 20, "z" * 55 + "… (cut) → acme-chat/chat:write"),
        ("a\nTitle: b", "a⟦U+000A⟧Title: b → acme-chat/chat:write"),
    ],
)
def test_an_agent_cannot_continue_the_sentence_in_its_name(
    acme: Side, push_service: PushService, name: str, shown: str
) -> None:
    push_service.device(acme.admin)
    acme.agent.name = name
    acme.agent.save()
    submit(acme)
    assert the_delivery().notification.body == shown


def test_the_longest_names_stay_under_the_limit(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    acme.agent.name = "\U0001f600" * 200
    acme.agent.save()
    submit(acme)
    assert len(push.payload_of(the_delivery())) < 600


def test_a_child_cannot_push_its_parents_name_out_of_sight() -> None:
    shown = headline(agent="c" * 200, parent="Acme bot", platform="acme-chat", scope="chat:write")
    assert shown == f"{'c' * 60}… (cut) (child of Acme bot) → acme-chat/chat:write"
    longest = headline(agent="c" * 200, parent="p" * 200, platform="f" * 63, scope="s" * 128)
    assert len(longest) <= 300
