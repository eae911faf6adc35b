"""Devices on /settings and the offer on /approvals: what browsers hand in, whose device it is, test and delete."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from approvals.services import deny
from audit.models import AuditEvent
from notifications import devices, push
from notifications.deliveries import Delivery
from notifications.devices import MOST_DEVICES, PushDevice, Subscription
from notifications.push import application_server_key
from tests.approvals.test_races import ROUNDS, together
from tests.notifications.test_push import send_due
from tests.pages.scene import collect_static, signed_in
from tests.push_fixtures import PushService
from tests.world import Side, submit

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"


@pytest.fixture(scope="module", autouse=True)
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with collect_static(str(tmp_path_factory.mktemp("static"))):
        yield


def add(client: Client, subscription: dict[str, str], **change: str) -> Any:
    return client.post("/settings/devices", {"name": "Phone", "back": "settings", **subscription, **change})


def notices(client: Client) -> str:
    return client.get("/settings").content.decode()


def test_a_device_is_added_shown_tested_and_deleted(acme: Side, push_service: PushService) -> None:
    client = signed_in(acme.admin)
    answer = add(client, push_service.subscription(), name="  My\nphone ")
    assert (answer.status_code, answer["Location"]) == (303, "/settings")
    device = PushDevice.objects.get()
    assert (device.member, device.name) == (acme.admin, "My phone")
    page = notices(client)
    assert "My phone" in page
    assert device.mark in page
    for secret in (device.endpoint, device.endpoint.rpartition("/")[2]):
        assert secret not in page
    assert client.post(f"/settings/devices/{device.pk}/test").status_code == 303
    client.post(f"/settings/devices/{device.pk}/test")
    delivery = Delivery.objects.get()  # the latest only
    push.deliver(delivery_id=delivery.pk, now=delivery.created_at)
    assert push_service.messages[0]["title"] == "AgentValet reaches this device"
    assert client.post(f"/settings/devices/{device.pk}/delete").status_code == 303
    assert not PushDevice.objects.exists()
    assert list(AuditEvent.objects.order_by("seq").values_list("event", flat=True)) == [
        "push.subscribed",
        "push.unsubscribed",
    ]
    assert device.endpoint not in "".join(AuditEvent.objects.values_list("canonical", flat=True))


def test_the_offer_names_the_device_and_carries_the_servers_key(acme: Side) -> None:
    client = signed_in(acme.approver)
    page = client.get("/m/approvals", headers={"User-Agent": FIREFOX}).content.decode()
    assert f'data-key="{application_server_key()}"' in page
    assert 'value="Firefox on Android"' in page
    assert "data-push-banner" not in signed_in(acme.auditor).get("/approvals").content.decode()


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": ""},
        {"endpoint": "http://push.example/1"},
        {"endpoint": "https://"},
        {"endpoint": "https://user@push.example/1"},
        {"endpoint": "https://push.example/1#x"},
        {"endpoint": "https://push.example\\@evil.example/"},
        {"endpoint": "https://push.example/\r\nX: y"},
        {"endpoint": "https://push.example/é"},
        {"endpoint": "https://push.example/" + "x" * 2000},
        {"endpoint": "file:///etc/passwd"},
        {"endpoint": "https://[::1"},
        {"p256dh": ""},
        {"p256dh": "AAAA"},
        {"p256dh": "B" + "A" * 86},  # not on the curve
        {"p256dh": "!!"},
        {"auth": ""},
        {"auth": "AAAA"},
        {"auth": "A" * 44},
        {"auth": "\0"},
    ],
)
def test_what_is_no_subscription_is_refused(acme: Side, push_service: PushService, change: dict[str, str]) -> None:
    client = signed_in(acme.admin)
    assert add(client, push_service.subscription() | change).status_code == 303
    assert not PushDevice.objects.exists()
    assert "can be used" in (page := notices(client)) or "cannot be used" in page


@pytest.mark.parametrize("whose", ["colleague's", "stranger's"])
def test_a_browser_that_changes_hands_is_on_record_where_it_leaves_and_gets_no_name_from_there(
    acme: Side, stranger: Side, push_service: PushService, whose: str
) -> None:
    subscription = push_service.subscription()
    other = acme.approver if whose == "colleague's" else stranger.approver
    add(signed_in(acme.admin), subscription)
    approval = submit(acme)
    send_due()
    add(signed_in(other), subscription, name="Shared")
    device = PushDevice.objects.get()
    assert (device.member, device.name) == (other, "Shared")
    left = AuditEvent.objects.get(event="push.unsubscribed")
    assert left.owner_id == acme.owner.pk
    assert '"admin@acme.example"' in left.canonical
    assert whose == "colleague's" or stranger.approver.user.email not in left.canonical
    deny(member=acme.admin, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())
    send_due()
    named = "Acme bot → acme-chat/chat:write"
    bodies = [(one["kind"], one["body"]) for one in push_service.messages]
    assert bodies == [("ask", named), ("withdrawal", named if whose == "colleague's" else "")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("whose", ["own", "colleague's"])
def test_a_browser_that_is_handed_in_twice_at_one_moment_is_one_device(
    acme: Side, push_service: PushService, whose: str
) -> None:
    members = (acme.admin, acme.admin if whose == "own" else acme.approver)
    for _ in range(ROUNDS):
        read = Subscription.read(**push_service.subscription())
        hand_in = partial(devices.subscribe, subscription=read, name="x", request_id=uuid4(), now=timezone.now())
        one, two = together(*(partial(hand_in, member=member) for member in members))
        assert one == two == PushDevice.objects.get()
        PushDevice.objects.all().delete()


def test_an_endpoint_cannot_be_taken_over_with_other_keys(
    acme: Side, stranger: Side, push_service: PushService
) -> None:
    mine, theirs = push_service.subscription(), push_service.subscription()
    add(signed_in(acme.admin), mine)
    add(signed_in(stranger.admin), theirs | {"endpoint": mine["endpoint"]})
    assert PushDevice.objects.get().member == acme.admin


def test_a_stranger_and_a_colleague_neither_test_nor_delete_it(
    acme: Side, stranger: Side, push_service: PushService
) -> None:
    device = push_service.device(acme.admin, name="Pocket")
    for other in (stranger.admin, acme.approver):
        client = signed_in(other)
        for verb in ("test", "delete"):
            assert client.post(f"/settings/devices/{device.pk}/{verb}").status_code == 404
            assert client.post(f"/settings/devices/{uuid4()}/{verb}").status_code == 404
        assert device.name not in notices(client)
    assert PushDevice.objects.count() == 1
    assert not Delivery.objects.exists()


def test_a_get_adds_tests_and_deletes_nothing(acme: Side, push_service: PushService) -> None:
    device = push_service.device(acme.admin)
    client = signed_in(acme.admin)
    for path in ("", f"/{device.pk}/test", f"/{device.pk}/delete"):
        assert client.get(f"/settings/devices{path}").status_code == 405
    assert PushDevice.objects.count() == 1


def test_a_form_that_is_not_ours_adds_nothing(acme: Side, push_service: PushService) -> None:
    client = signed_in(acme.admin, enforce_csrf_checks=True)
    assert add(client, push_service.subscription()).status_code == 403
    assert not PushDevice.objects.exists()


def test_an_auditor_gets_none(acme: Side, push_service: PushService) -> None:
    client = signed_in(acme.auditor)
    add(client, push_service.subscription())
    assert not PushDevice.objects.exists()
    assert "nothing to notify you of" in notices(client)


def test_the_number_of_devices_is_limited(acme: Side, push_service: PushService) -> None:
    for _ in range(MOST_DEVICES):
        push_service.device(acme.admin)
    client = signed_in(acme.admin)
    add(client, push_service.subscription())
    assert PushDevice.objects.count() == MOST_DEVICES
    assert f"You have {MOST_DEVICES} devices already" in notices(client)


def test_the_site_can_be_installed(acme: Side) -> None:
    client = Client()
    manifest = client.get("/manifest.webmanifest")
    assert manifest["Content-Type"] == "application/manifest+json"
    content = manifest.json()
    assert (content["start_url"], content["display"]) == ("/approvals", "standalone")
    for icon in content["icons"]:
        with closing(client.get(icon["src"])) as image:
            assert image.status_code == 200, icon
            assert b"".join(image)
    worker = client.get("/sw.js")
    assert worker["Content-Type"] == "text/javascript; charset=utf-8"
    assert worker["Cache-Control"] == "no-cache"
    assert "You are offline" in client.get("/offline").content.decode()
    for path in ("/sw.js", "/offline", "/manifest.webmanifest"):
        assert client.post(path).status_code in {403, 405}
        assert "Set-Cookie" not in client.get(path)
