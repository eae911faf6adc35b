"""What Celery runs for the inbox. Each task reads the truth from the database, however often it comes."""

import logging
from typing import Any

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from notifications import outbox, push, uninstalls
from notifications.deliveries import Channel

logger = logging.getLogger(__name__)

_MOST = 500  # messages that one sweep wakes somebody for


@shared_task(name="notifications.sweep")
def sweep(**_: Any) -> None:
    """Settle what time has settled, remind of what is half over, and send what was left behind."""
    now = timezone.now()
    uninstalls.expire_due(now=now)
    outbox.remind_due(now=now)
    for delivery_id in outbox.due(channel=Channel.PUSH, now=now).values_list("pk", flat=True)[:_MOST]:
        if not wake_push(delivery_id):
            return


@shared_task(name="notifications.push")
def push_one(*, delivery_id: int, **_: Any) -> None:
    """Push one message to one device."""
    push.deliver(delivery_id=delivery_id, now=timezone.now())


def wake_push(delivery_id: int) -> bool:
    """Tell the messenger that there is something to push. A lost message costs seconds: the sweep sends it again."""
    try:
        push_one.delay(delivery_id=delivery_id)
    except OperationalError:
        logger.warning("the broker did not take push %s; the sweep will send it again", delivery_id)
        return False
    return True
