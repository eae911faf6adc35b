"""What Celery runs for the inbox. Each task reads the truth from the database, however often it comes."""

import logging
from typing import Any
from uuid import UUID

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from notifications import outbox, push, shares, uninstalls
from notifications.deliveries import Channel
from notifications.sweeping import going_on

logger = logging.getLogger(__name__)

MESSAGE_LASTS = 10  # seconds: a sweep sends another by then, and those that nobody has taken are worth nothing
_MOST = 500  # messages that one sweep wakes somebody for


@shared_task(name="notifications.sweep")
def sweep(**_: Any) -> None:
    """Settle what time has settled, remind of what is half over, and send what was left behind."""
    now = timezone.now()
    with going_on(logger, "expiring requests to be uninstalled"):
        uninstalls.expire_due(now=now)
    with going_on(logger, "reminding"):
        outbox.remind_due(now=now)
    with going_on(logger, "pushing"):
        for delivery_id, owner_id in outbox.due_in_turn(channel=Channel.PUSH, now=now)[:_MOST]:
            if not wake_push(delivery_id, owner_id=owner_id):
                break


@shared_task(name="notifications.push")
def push_one(*, delivery_id: int, owner_id: str, **_: Any) -> None:
    """Push one message to one device, and what else of the owner's is due: so that its share is never idle."""

    def more() -> int | None:
        rows = outbox.due(channel=Channel.PUSH, now=timezone.now()).filter(notification__owner_id=UUID(owner_id))
        return rows.values_list("pk", flat=True).first()

    shares.send_in_turn(
        share=f"push:{owner_id}",
        first=delivery_id,
        more=more,
        send=lambda pk: push.deliver(delivery_id=pk, now=timezone.now()),
    )


def wake_push(delivery_id: int, *, owner_id: UUID) -> bool:
    """Tell the messenger that there is something to push. A lost message costs seconds: the sweep sends it again."""
    try:
        push_one.apply_async(kwargs={"delivery_id": delivery_id, "owner_id": str(owner_id)}, expires=MESSAGE_LASTS)
    except OperationalError:
        logger.warning("the broker did not take push %s; the sweep will send it again", delivery_id)
        return False
    return True
