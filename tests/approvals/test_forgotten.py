"""What the sweep wakes workers for: in turn, no more than may begin, and nothing that another owner has to wait behind."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from approvals import tasks
from approvals.concurrency import in_worker
from approvals.forgotten import forgotten
from approvals.models import ApprovalRequest
from platforms.traffic import turn
from tests.approvals.test_circuit import break_circuit, pause_is_over, valkey
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import run
from tests.world import Side, submit


@pytest.fixture(autouse=True)
def few(settings: Settings) -> None:
    settings.CIRCUIT_FAILURES, settings.CIRCUIT_SECONDS = 3, 30
    settings.PLATFORM_CONCURRENCY, settings.PLATFORM_WAIT, settings.WORKER_THREADS = 3, 600, 2


@pytest.fixture
def broker() -> Iterator[Redis]:
    with valkey() as broker:
        broker.delete("celery")
        yield broker
        broker.delete("celery")


def waiting(side: Side, count: int) -> list[UUID]:
    """Approved calls that nobody has begun, the oldest first."""
    rows = [approve(side, submit(side, body=str(number))) for number in range(count)]
    for age, row in enumerate(reversed(rows)):
        decided_at = timezone.now() - timedelta(seconds=10 + age)
        ApprovalRequest.objects.filter(pk=row.pk).update(decided_at=decided_at)
    return [row.pk for row in rows]


def woken(limit: int = 100, now: datetime | None = None) -> list[UUID]:
    return forgotten(now=now or timezone.now(), limit=limit)


def test_an_owner_with_many_calls_keeps_no_other_waiting(acme: Side, stranger: Side) -> None:
    many, one = waiting(acme, 6), waiting(stranger, 1)
    ApprovalRequest.objects.filter(pk=many[5]).update(platform="mail")
    assert woken() == [many[0], one[0], many[5], many[1], many[2]]  # as many as the platform has places for
    assert woken(limit=2) == [many[0], one[0]]
    assert woken(limit=0) == []


def test_nobody_is_woken_for_a_place_that_is_taken(acme: Side) -> None:
    rows = waiting(acme, 4)
    with ExitStack() as under_way:
        for free in (2, 1, 0, 0):
            place = turn(owner_id=acme.owner.pk, platform="acme-chat", timeout=9, now=timezone.now())
            if len(woken()) > 0:
                under_way.enter_context(place)
            assert woken() == rows[:free]
        long_ago = timezone.now() - timedelta(seconds=600)
        ApprovalRequest.objects.filter(pk=rows[0]).update(decided_at=long_ago)
        assert woken() == rows[:1]  # a worker ends it


def test_an_open_circuit_is_left_alone_and_probed_by_one_call(client: Client, acme: Side) -> None:
    rows = waiting(acme, 3)
    break_circuit(client, acme)
    assert woken() == []
    assert woken(now=timezone.now() - timedelta(hours=1)) == rows[:1]  # put back: that end is too far ahead
    pause_is_over(acme)
    assert woken() == rows[:1]
    with turn(owner_id=acme.owner.pk, platform="acme-chat", timeout=9, now=timezone.now()):
        assert woken() == []  # that is the probe


def test_no_more_messages_are_sent_than_a_worker_soon_takes(acme: Side, broker: Redis) -> None:
    rows = waiting(acme, 3)
    for _ in range(6):
        tasks.wake_worker(uuid4())
    tasks.sweep()
    sent = [json.loads(message)["headers"]["kwargsrepr"] for message in broker.lrange("celery", 0, -1)]
    assert [str(pk) in text for pk, text in zip(reversed(rows[:2]), sent[:2], strict=True)] == [True, True]
    assert len(sent) == 8
    tasks.sweep()
    assert broker.llen("celery") == 8


def test_a_message_that_nobody_has_taken_is_worth_nothing_after_ten_seconds(broker: Redis) -> None:
    before = timezone.now()
    assert tasks.wake_worker(uuid4())
    (message,) = broker.lrange("celery", 0, -1)
    ends = datetime.fromisoformat(json.loads(message)["headers"]["expires"])
    assert before <= ends - timedelta(seconds=10) <= timezone.now()


def test_a_quarter_of_the_worker_is_left_to_others(acme: Side, stranger: Side, settings: Settings) -> None:
    """The platforms of one owner, all hanging, have three quarters of the threads at most."""
    settings.WORKER_THREADS = 4
    mine, other = approve(acme, submit(acme)), approve(stranger, submit(stranger))
    with ExitStack() as hanging:
        assert [hanging.enter_context(in_worker(acme.owner.pk)) for _ in range(4)] == [True, True, True, False]
        assert run(mine).execution_started_at is None
        assert run(other).result_status == 200
    assert run(mine).result_status == 200
