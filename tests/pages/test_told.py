"""What the card says of who was told, and telling the server that a call has been seen."""

from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents import delegates
from notifications import outbox
from notifications.deliveries import Delivery, Seen
from tests.pages.scene import Scene, signed_in
from tests.push_fixtures import PushService


def test_the_card_says_who_was_told_and_whether_it_arrived(
    scene: Scene, admin: Client, push_service: PushService
) -> None:
    push_service.device(scene.admin, name="<b>Phone</b>")
    delegates.add(member=scene.admin, email="dana@elsewhere.example", request_id=uuid4(), now=timezone.now())
    approval = scene.submit({"n": 1})
    now = timezone.now()
    pushed, mailed = (
        outbox.claim(delivery_id=pk, now=now) for pk in sorted(Delivery.objects.values_list("pk", flat=True))
    )
    assert pushed is not None
    assert mailed is not None
    outbox.arrived(pushed, now=now)
    outbox.failed(mailed, failure="The mail server did not take the message.", now=now)
    for path in ("/approvals", f"/approvals/{approval.pk}"):
        html = admin.get(path).content.decode()
        assert "admin@acme.example, &lt;b&gt;Phone&lt;/b&gt;</bdi>: pushed <time" in html
        assert "dana@elsewhere.example</bdi>: not yet: <bdi>The mail server did not take the message.</bdi>" in html
    outbox.give_up(mailed, failure="Full.")
    Delivery.objects.filter(pk=mailed.pk).update(next_try_at=None, failure="Full.")
    assert "failed: <bdi>Full.</bdi>" in admin.get(f"/approvals/{approval.pk}").content.decode()


def test_the_card_says_when_nobody_was_told(scene: Scene, admin: Client) -> None:
    scene.submit({"n": 1})
    assert "Nobody by push or e-mail." in admin.get("/approvals").content.decode()


def test_what_was_on_the_screen_is_noted_once_and_only_by_a_post(scene: Scene, admin: Client, stranger: Client) -> None:
    approval = scene.submit({"n": 1})
    ids = {"id": [str(approval.pk), str(uuid4()), "x", "\0", ""]}
    assert admin.get("/approvals/seen", {"id": str(approval.pk)}).status_code == 405
    admin.get(f"/approvals/{approval.pk}")
    assert not Seen.objects.exists()
    assert stranger.post("/approvals/seen", ids).status_code == 204
    assert not Seen.objects.exists()
    for _ in range(2):
        assert admin.post("/approvals/seen", ids).status_code == 204
    assert Seen.objects.get().member == scene.admin


@pytest.mark.parametrize("count", [0, 5000])
def test_any_number_of_ids_is_fine(scene: Scene, count: int) -> None:
    client = signed_in(scene.approver)
    assert client.post("/approvals/seen", {"id": ["x"] * min(count, 900)}).status_code == 204
    assert not Seen.objects.exists()
