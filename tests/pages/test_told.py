"""What the card says of who was told, and telling the server that a call has been seen."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

import approvals.told
from agents import delegates
from notifications import inbox, outbox
from notifications.deliveries import Delivery, Seen
from tests.notifications.test_push import send_due
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


def told(client: Client, *ids: object) -> str:
    """What an open page gets when it asks."""
    answer = client.get("/approvals/told", {"id": [str(one) for one in ids]})
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_open_page_hears_of_what_arrives_and_of_reminders(
    scene: Scene, admin: Client, stranger: Client, push_service: PushService
) -> None:
    push_service.device(scene.admin)
    approval = scene.submit({"n": 1})
    on_its_way = told(admin, "x", "\0", approval.pk, uuid4(), approval.pk)
    assert on_its_way.count("data-told=") == 1
    assert on_its_way in admin.get("/approvals").content.decode() + "\n"
    assert 'data-told-due="0"' in on_its_way  # to be asked for again at once
    assert ": on its way</li>" in on_its_way
    assert told(stranger, approval.pk).strip() == told(admin).strip() == ""
    send_due(timezone.now())
    half = approval.created_at + (approval.expires_at - approval.created_at) / 2
    arrived = told(admin, approval.pk)
    assert "pushed <time" in arrived
    assert f'data-told-due="{int(half.timestamp() * 1000)}"' in arrived
    outbox.remind_due(now=half)
    assert told(admin, approval.pk).count("<li>") == 2
    scene.approve(approval)
    settled = told(admin, approval.pk)
    assert "not sent, it was settled first" in settled
    assert "data-told-due" not in settled


def test_the_card_says_when_nobody_was_told_and_when_nobody_knows_any_more(
    scene: Scene, admin: Client, push_service: PushService
) -> None:
    unheard = scene.submit({"n": 1})
    assert "Nobody by push or e-mail." in admin.get("/approvals").content.decode()
    push_service.device(scene.admin)
    old = scene.approve(scene.submit({"n": 2}))
    inbox.prune(now=timezone.now() + timedelta(days=31))
    assert "Nobody by push or e-mail." in told(admin, unheard.pk)
    assert "Nobody" not in told(admin, old.pk)
    assert "Not kept any more" in admin.get(f"/approvals/{old.pk}").content.decode()


def test_a_long_list_of_who_was_told_is_cut_with_a_mark(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals.told, "MOST_TOLD", 2)
    for number in range(4):
        delegates.add(member=scene.admin, email=f"d{number}@elsewhere.example", request_id=uuid4(), now=timezone.now())
    html = told(admin, scene.submit({"n": 1}).pk)
    assert html.count("<li>") == 2
    assert "… cut, 2 more" in html


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


@pytest.mark.parametrize(("count", "status"), [(0, 204), (900, 204), (5000, 400)])
def test_any_number_of_ids_notes_nothing_that_is_not_there(scene: Scene, count: int, status: int) -> None:
    client = signed_in(scene.approver)
    assert client.post("/approvals/seen", {"id": ["x"] * count}).status_code == status
    assert not Seen.objects.exists()
