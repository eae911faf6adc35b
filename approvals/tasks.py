"""What Celery runs. A message is a hint: every task reads the truth from the database, however often it comes."""

import logging
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import redis
from celery import shared_task
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from agents.passkeys import forget_challenges
from approvals import magic_links, runs, transitions
from approvals.execution import execute
from approvals.forgotten import forgotten
from approvals.models import ApprovalRequest
from approvals.telling import tag_of
from notifications import outbox, shares
from notifications.deliveries import Channel
from notifications.sweeping import going_on
from notifications.tasks import MESSAGE_LASTS, wake_push

logger = logging.getLogger(__name__)

# Messages that wait for one thread of the worker, at most, before the sweep sends more: then none waits for long.
_BEFORE_A_THREAD = 4


@shared_task(name="approvals.execute")
def execute_approved(*, approval_id: str, **_: Any) -> None:
    """Run one approved call."""
    execute(approval_id=UUID(approval_id), now=timezone.now())


@shared_task(name="approvals.sweep")
def sweep(**_: Any) -> None:
    """Collect what time or a crash left behind: expire, give up the lost, wake workers for the forgotten."""
    now = timezone.now()
    with going_on(logger, "expiring"):
        transitions.expire_due(now=now)
    with going_on(logger, "giving up"):
        runs.give_up_lost(now=now)
    with going_on(logger, "forgetting challenges"):
        forget_challenges(now=now)
    with going_on(logger, "sending links"):
        for delivery_id, _owner_id in outbox.due_in_turn(channel=Channel.MAIL, now=now)[:100]:
            if not _wake_mail(delivery_id):
                break
    with going_on(logger, "waking workers"):
        for approval_id in forgotten(now=now, limit=_room()):
            if not wake_worker(approval_id):
                break


@shared_task(name="approvals.mail_link")
def mail_link(*, delivery_id: int, **_: Any) -> None:
    """Send a delegate the link of one call, then what else is to be mailed: all wait for one mail server."""
    shares.send_in_turn(
        share="mail",
        first=delivery_id,
        more=lambda: outbox.due(channel=Channel.MAIL, now=timezone.now()).values_list("pk", flat=True).first(),
        send=lambda pk: magic_links.mail(delivery_id=pk, now=timezone.now()),
    )


def wake_worker(approval_id: UUID) -> bool:
    """Tell a worker that the row is ready. A lost message costs seconds: the sweep sends it again."""
    try:
        execute_approved.apply_async(kwargs={"approval_id": str(approval_id)}, expires=MESSAGE_LASTS)
    except OperationalError:
        logger.warning("the broker did not take approval %s; the sweep will send it again", approval_id)
        return False
    return True


def _room() -> int:
    """How many messages more may wait for a worker."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2) as broker:
        waiting = cast(int, broker.llen(settings.CELERY_TASK_DEFAULT_QUEUE))
    most: int = settings.WORKER_THREADS * _BEFORE_A_THREAD
    return max(0, most - waiting)


def wake_messengers(approval: ApprovalRequest, *, now: datetime) -> None:
    """Have sent what is to be sent about the row, if anything is: asked for, reminded of, or withdrawn."""
    for delivery_id, channel in outbox.due_about(owner_id=approval.owner_id, tag=tag_of(approval), now=now):
        is_push = channel == Channel.PUSH
        if not (wake_push(delivery_id, owner_id=approval.owner_id) if is_push else _wake_mail(delivery_id)):
            return


def _wake_mail(delivery_id: int) -> bool:
    """Have one message to a delegate sent; if the broker is away, the sweep does it later."""
    try:
        mail_link.apply_async(kwargs={"delivery_id": delivery_id}, expires=MESSAGE_LASTS)
    except OperationalError:
        logger.warning("the broker did not take mail %s; the sweep will send it again", delivery_id)
        return False
    return True
