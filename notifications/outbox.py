"""The outbox: what is to be sent, handed to one worker at a time; what came of it. No network in here.

`ask` writes rows in the transaction of the matter itself; `claim` hands one out and `arrived`, `failed` or `give_up`
close it. A claim that never comes back is handed out again after its lease, a few times: a message may go out twice,
and is sent in a way that does no harm then. What has arrived has arrived, whoever's claim it is by then.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Window
from django.db.models.functions import RowNumber

from agents.delegate_model import Delegate
from agents.models import Member
from notifications.deliveries import ASKING, Channel, Delivery, Purpose, Seen
from notifications.devices import PushDevice
from notifications.models import Notification
from notifications.sweeping import going_on

logger = logging.getLogger(__name__)

_MAIL_ANSWERS = 14  # of a mail server to one message, TLS and signing in among them; it has EMAIL_TIMEOUT for each
# Of one attempt: longer than whoever sends waits for the other side, or two would send the same.
LEASES = {
    Channel.PUSH: timedelta(seconds=30),
    Channel.MAIL: timedelta(seconds=10 + _MAIL_ANSWERS * settings.EMAIL_TIMEOUT),
}
BACKOFF = (2, 10, 30, 60, 120)  # seconds until the next attempt, unless the other side names more
_MOST_ATTEMPTS = len(BACKOFF) + 1
_AGAIN_SOON = timedelta(seconds=1)


def ask(
    *, owner_id: UUID, tag: str, title: str, body: str, url: str, now: datetime, expires_at: datetime
) -> Notification:
    """A line in the inbox that somebody has to decide on in time: devices and delegates are told; halfway, once
    more, the devices of those who have not seen it.

    The caller holds the transaction, and `tag` is new.
    """
    line = Notification.objects.create(
        owner_id=owner_id,
        tag=tag,
        title=title[:300],
        body=body[:300],
        url=url,
        created_at=now,
        expires_at=expires_at,
        remind_at=now + (expires_at - now) / 2,
    )
    write(line, Purpose.ASK, PushDevice.objects.of_deciders(owner_id), now=now)
    Delivery.objects.bulk_create(
        Delivery(
            notification=line,
            channel=Channel.MAIL,
            purpose=Purpose.ASK,
            target=delegate.pk,
            recipient=delegate.email,
            created_at=now,
            next_try_at=now,
        )
        for delegate in Delegate.objects.filter(owner_id=owner_id, is_active=True)
    )
    return line


def write(line: Notification, purpose: Purpose, devices: Iterable[PushDevice], *, now: datetime) -> list[Delivery]:
    """A message to each of the devices, in the caller's transaction."""
    return Delivery.objects.bulk_create(
        Delivery(
            notification=line,
            channel=Channel.PUSH,
            purpose=purpose,
            target=device.pk,
            recipient=f"{device.member.user.email}, {device.name}",
            created_at=now,
            next_try_at=now,
        )
        for device in devices
    )


def remind_due(*, now: datetime, limit: int = 200) -> int:
    """Tell those who have not seen what is half over; returns how many matters."""
    due = Notification.objects.filter(remind_at__lte=now, withdrawn_at=None).order_by("remind_at")
    reminded = 0
    for pk in due.values_list("pk", flat=True)[:limit]:
        with going_on(logger, f"reminding of {pk}"), transaction.atomic(durable=True):
            line = due.select_for_update(skip_locked=True, no_key=True).filter(pk=pk).first()
            if line is None:
                continue
            line.remind_at = None
            line.save(update_fields=["remind_at"])
            if line.expires_at is not None and now < line.expires_at:
                seen = Seen.objects.filter(notification=line).values("member")
                devices = PushDevice.objects.of_deciders(line.owner_id).exclude(member__in=seen)
                write(line, Purpose.REMINDER, devices, now=now)
                reminded += 1
    return reminded


def cancel(notification_id: int, *, now: datetime) -> None:
    """The matter is settled, in the caller's transaction: nobody is told any more, who was told is told that.

    What a worker is sending at this moment is not waited for; its withdrawal follows it.
    """
    asking = Delivery.objects.filter(notification_id=notification_id, purpose__in=ASKING)
    asking.filter(under_way=False, next_try_at__isnull=False).update(next_try_at=None)
    told = asking.filter(channel=Channel.PUSH, attempts__gt=0).order_by("target").distinct("target")
    Delivery.objects.bulk_create(
        Delivery(
            notification_id=notification_id,
            channel=Channel.PUSH,
            purpose=Purpose.WITHDRAWAL,
            target=one.target,
            recipient=one.recipient,
            created_at=now,
            next_try_at=now,
        )
        for one in told
    )


def due(*, channel: Channel, now: datetime) -> QuerySet[Delivery]:
    """What is to be sent now, the longest waiting first."""
    return Delivery.objects.filter(channel=channel, next_try_at__lte=now).order_by("next_try_at", "pk")


def due_in_turn(*, channel: Channel, now: datetime) -> "QuerySet[Delivery, tuple[int, UUID]]":
    """The same, with the owners: every owner's first before any owner's second, so that none waits behind another."""
    place = Window(RowNumber(), partition_by="notification__owner_id", order_by=["next_try_at", "pk"])
    rows = due(channel=channel, now=now).annotate(place=place).order_by("place", "next_try_at", "pk")
    return rows.values_list("pk", "notification__owner_id")


def due_about(*, owner_id: UUID, tag: str, now: datetime) -> list[tuple[int, str]]:
    """The messages about one matter that are to be sent now, with their channels."""
    rows = Delivery.objects.filter(notification__owner_id=owner_id, notification__tag=tag, next_try_at__lte=now)
    return list(rows.values_list("pk", "channel"))


def claim(*, delivery_id: int, now: datetime) -> Delivery | None:
    """The right to send one message, for the length of a lease; None if there is nothing to send (any more).

    Locks: the row. Whether the matter is settled is read under that lock: a decision that is not seen here finds the
    row under way, and its withdrawal follows.
    """
    rows = Delivery.objects.select_for_update(no_key=True)
    with transaction.atomic(durable=True):
        row = rows.filter(pk=delivery_id, next_try_at__lte=now).first()
        if row is None:
            return None
        row.notification = Notification.objects.get(pk=row.notification_id)
        if row.purpose in ASKING and row.notification.is_over(now):
            row.next_try_at, row.under_way = None, False
        elif row.purpose == Purpose.WITHDRAWAL and _is_being_told(row):
            row.next_try_at = now + _AGAIN_SOON
        elif row.attempts >= _MOST_ATTEMPTS:
            row.next_try_at, row.under_way = None, False
            row.failure = row.failure or "No attempt to send it has come to an end."
        else:
            row.attempts += 1
            row.under_way = True
            row.next_try_at = now + LEASES[Channel(row.channel)]
        row.save(update_fields=["attempts", "under_way", "next_try_at", "failure"])
    return row if row.under_way else None


def _is_being_told(withdrawal: Delivery) -> bool:
    """Whether what is to be taken away may be on its way, from a worker that died, too: one after the other."""
    same = Delivery.objects.filter(notification_id=withdrawal.notification_id, target=withdrawal.target)
    return same.filter(purpose__in=ASKING, under_way=True).exists()


def arrived(delivery: Delivery, *, now: datetime) -> None:
    """The other side has taken it, in whichever attempt."""
    open_rows = Delivery.objects.filter(pk=delivery.pk, arrived_at=None)
    open_rows.update(under_way=False, next_try_at=None, arrived_at=now, failure="")


def give_up(delivery: Delivery, *, failure: str) -> None:
    """It cannot arrive. `failure` is one sentence for the card."""
    _close(delivery, next_try_at=None, failure=failure)


def failed(delivery: Delivery, *, failure: str, now: datetime, wait: timedelta | None = None) -> None:
    """It did not arrive this time. `wait` is how long the other side wants to be left alone."""
    if delivery.attempts >= _MOST_ATTEMPTS:
        give_up(delivery, failure=failure)
        return
    pause = timedelta(seconds=BACKOFF[delivery.attempts - 1])
    again = now + max(pause, wait or pause)
    expires_at = delivery.notification.expires_at
    if delivery.purpose in ASKING and expires_at is not None and again >= expires_at:
        give_up(delivery, failure=failure)
        return
    _close(delivery, next_try_at=again, failure=failure)


def _close(delivery: Delivery, *, next_try_at: datetime | None, failure: str) -> None:
    """End the attempt that `delivery` was claimed for; if its lease ran out, another has it, and this one's is late."""
    mine = Delivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts, under_way=True)
    mine.update(under_way=False, next_try_at=next_try_at, failure=failure[:300])


def test(*, member: Member, device_id: UUID, url: str, now: datetime) -> Delivery:
    """A message to one device of the member's that is about nothing. Only the latest is kept.

    Raises:
        PushDevice.DoesNotExist: not a device of the member's.
    """
    with transaction.atomic(durable=True):
        device = PushDevice.objects.of_member(member).select_related("member__user").get(pk=device_id)
        line, _ = Notification.objects.update_or_create(
            owner_id=member.owner_id,
            tag=f"test:{device.pk}",
            defaults={
                "title": "AgentValet reaches this device",
                "body": "This is the test that you asked for.",
                "url": url,
                "created_at": now,
                "withdrawn_at": now,  # nobody has to see to it
            },
        )
        line.deliveries.all().delete()
        return write(line, Purpose.TEST, [device], now=now)[0]


def note_seen(*, member: Member, tags: Iterable[str], now: datetime) -> None:
    """The member has these matters on the screen. Tags that are not the owner's, or settled, are passed over."""
    lines = Notification.objects.filter(owner_id=member.owner_id, tag__in=list(tags)[:100], withdrawn_at=None)
    Seen.objects.bulk_create((Seen(notification=line, member=member, at=now) for line in lines), ignore_conflicts=True)
