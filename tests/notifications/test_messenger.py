"""What wakes the messenger, and how its threads are shared: one row, owner or server in trouble stops no other's."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from redis import Redis

import approvals.tasks
import notifications.tasks
from agents import delegates
from approvals import magic_links
from approvals.services import deny
from notifications import outbox, shares, uninstalls
from notifications.deliveries import Channel, Delivery, Purpose
from notifications.models import Notification
from tests.approvals.test_races import together, wait_until_somebody_waits
from tests.push_fixtures import PushService
from tests.world import Side, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker() -> Iterator[Redis]:
    with Redis.from_url(settings.REDIS_URL) as client:
        client.delete("messages")
        yield client
        client.delete("messages")


def hints(broker: Redis) -> list[dict[str, Any]]:
    """The headers of what waits for the messenger."""
    return [json.loads(one)["headers"] for one in broker.lrange("messages", 0, -1)]


def test_no_hint_outlives_the_sweeps_that_repeat_it(acme: Side, push_service: PushService, broker: Any) -> None:
    push_service.device(acme.admin)
    delegates.add(member=acme.admin, email="dana@elsewhere.example", request_id=uuid4(), now=timezone.now())
    submit(acme)
    approvals.tasks.sweep()
    notifications.tasks.sweep()
    sent = {one["task"]: datetime.fromisoformat(one["expires"]) - timezone.now() for one in hints(broker)}
    assert sent.keys() == {"approvals.mail_link", "notifications.push"}
    assert max(sent.values()).total_seconds() <= notifications.tasks.MESSAGE_LASTS


@pytest.mark.parametrize("broken", [(uninstalls, "expire_due"), (outbox, "remind_due")])
def test_a_part_of_the_sweep_that_fails_stops_no_other(
    acme: Side, push_service: PushService, broker: Any, monkeypatch: pytest.MonkeyPatch, broken: tuple[Any, str]
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError

    push_service.device(acme.admin)
    submit(acme)
    monkeypatch.setattr(*broken, fail)
    broker.delete("messages")  # what asking has sent
    notifications.tasks.sweep()
    assert [one["task"] for one in hints(broker)] == ["notifications.push"]


def test_a_line_that_nobody_can_be_reminded_of_keeps_no_other_waiting(
    acme: Side, push_service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_service.device(acme.admin)
    bad, good = submit(acme), submit(acme, body='{"another":1}')
    write = outbox.write

    def write_or_fail(line: Notification, *args: Any, **options: Any) -> list[Delivery]:
        if line.tag.endswith(str(bad.pk)):
            raise RuntimeError
        return write(line, *args, **options)

    monkeypatch.setattr(outbox, "write", write_or_fail)
    assert outbox.remind_due(now=good.created_at + (good.expires_at - good.created_at) / 2) == 1
    reminder = Delivery.objects.get(purpose=Purpose.REMINDER)
    assert reminder.notification.tag == f"approval:{good.pk}"


def test_what_a_dead_worker_may_have_sent_is_settled_before_it_is_taken_away(
    acme: Side, push_service: PushService
) -> None:
    push_service.device(acme.admin)
    approval = submit(acme)
    (asked,) = ids_of(acme)
    assert outbox.claim(delivery_id=asked, now=timezone.now())  # and dies
    deny(member=acme.admin, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())
    _, withdrawal = ids_of(acme)
    later = timezone.now() + outbox.LEASES[Channel.PUSH]
    assert outbox.claim(delivery_id=withdrawal, now=later) is None
    assert outbox.claim(delivery_id=asked, now=later) is None
    assert outbox.claim(delivery_id=withdrawal, now=later + timedelta(seconds=2)) is not None


@pytest.mark.django_db(transaction=True)
def test_a_decision_is_seen_that_came_while_the_row_was_waited_for(acme: Side, push_service: PushService) -> None:
    push_service.device(acme.admin)
    submit(acme)
    (asked,) = ids_of(acme)
    dead = timezone.now() - outbox.LEASES[Channel.PUSH]
    Delivery.objects.filter(pk=asked).update(under_way=True, attempts=1, next_try_at=dead)

    is_held = threading.Event()

    def decide() -> None:
        with transaction.atomic():
            Delivery.objects.select_for_update().get(pk=asked)
            is_held.set()
            wait_until_somebody_waits()
            Notification.objects.update(withdrawn_at=timezone.now())

    def claim() -> Delivery | None:
        is_held.wait(10)
        return outbox.claim(delivery_id=asked, now=timezone.now())

    _, claimed = together(decide, claim)
    assert claimed is None


def test_an_owner_whose_devices_are_slow_holds_up_its_own_messages_only(
    acme: Side, stranger: Side, push_service: PushService
) -> None:
    for side in (acme, stranger):
        push_service.device(side.admin)
        push_service.device(side.approver)
        submit(side)

    def hint(side: Side) -> None:
        notifications.tasks.push_one(delivery_id=ids_of(side)[0], owner_id=str(side.owner.pk))

    with ExitStack() as under_way:
        for _ in range(shares.PLACES):
            assert under_way.enter_context(shares.place(f"push:{acme.owner.pk}"))
        hint(acme)
        assert push_service.received == []
        hint(stranger)
        assert len(push_service.received) == 2  # its first, and what else is due
    hint(acme)
    assert len(push_service.received) == 4
    assert outbox.due(channel=Channel.PUSH, now=timezone.now()).count() == 0


def ids_of(side: Side) -> list[int]:
    return list(Delivery.objects.filter(notification__owner=side.owner).order_by("pk").values_list("pk", flat=True))


def test_a_mail_server_that_is_slow_holds_up_mail_only(
    acme: Side, push_service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailed: list[int] = []
    monkeypatch.setattr(magic_links, "mail", lambda *, delivery_id, now: mailed.append(delivery_id))
    push_service.device(acme.admin)
    delegates.add(member=acme.admin, email="dana@elsewhere.example", request_id=uuid4(), now=timezone.now())
    submit(acme)
    pushed, mail = ids_of(acme)
    with ExitStack() as under_way:
        for _ in range(shares.PLACES):
            assert under_way.enter_context(shares.place("mail"))
        approvals.tasks.mail_link(delivery_id=mail)
        notifications.tasks.push_one(delivery_id=pushed, owner_id=str(acme.owner.pk))
    assert (mailed, len(push_service.received)) == ([], 1)
    approvals.tasks.mail_link(delivery_id=mail)
    assert mailed == [mail]  # once: what is not dealt with is not tried for ever
    assert shares.PLACES * 2 < settings.MESSENGER_THREADS
