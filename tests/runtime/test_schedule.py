"""What beat sends, where it goes, and what the daily task removes."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.people_models import Session
from agentvalet.celery import app
from agentvalet.tasks import tidy
from notifications.inbox import notify, withdraw
from notifications.models import Notification
from tests.world import Side


def queue_of(task: str) -> str:
    return str(app.amqp.router.route({}, task)["queue"].name)


def test_nothing_that_beat_sends_waits_behind_calls() -> None:
    app.loader.import_default_modules()
    tasks = [entry["task"] for entry in app.conf.beat_schedule.values()]
    assert {queue_of(task) for task in tasks} == {"sweep"}
    assert queue_of("approvals.execute") == "celery"
    assert set(tasks) <= set(app.tasks)


@pytest.mark.django_db
def test_sessions_that_have_ended_are_removed(client: Client, acme: Side, stranger: Side) -> None:
    client.force_login(acme.approver.user)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    Client().force_login(stranger.approver.user)
    tidy()
    assert Session.objects.count() == 1
    assert Session.objects.get().expire_date > timezone.now()


@pytest.mark.django_db
def test_lines_are_removed_a_month_after_they_were_taken_out_of_the_inbox(acme: Side, stranger: Side) -> None:
    now = timezone.now()
    for side, tag, settled in (
        (acme, "long settled", timedelta(days=30, seconds=1)),
        (acme, "settled", timedelta(days=29)),
        (acme, "open", None),
        (stranger, "open", None),
    ):
        notify(owner_id=side.owner.pk, tag=tag, title=tag, url="/", now=now - timedelta(days=90))
        if settled is not None:
            withdraw(owner_id=side.owner.pk, tag=tag, now=now - settled)
    tidy()
    assert sorted(Notification.objects.values_list("tag", flat=True)) == ["open", "open", "settled"]
