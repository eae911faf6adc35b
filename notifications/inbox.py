"""Putting a line into the inbox and taking it out. The caller holds the transaction; delivery happens after it."""

from datetime import datetime, timedelta
from uuid import UUID

from notifications import outbox
from notifications.models import Notification

_KEPT = timedelta(days=30)  # after a line was taken out of the inbox


def notify(*, owner_id: UUID, tag: str, title: str, url: str, now: datetime) -> None:
    """Tell the owner's people."""
    Notification.objects.update_or_create(
        owner_id=owner_id,
        tag=tag,
        defaults={"title": title[:300], "url": url, "created_at": now, "withdrawn_at": None},
    )


def withdraw(*, owner_id: UUID, tag: str, now: datetime) -> None:
    """The matter is settled: take it out of the inbox, and off the devices that show it."""
    lines = Notification.objects.filter(owner_id=owner_id, tag=tag, withdrawn_at=None)
    pk = lines.values_list("pk", flat=True).first()
    if pk is not None and lines.filter(pk=pk).update(withdrawn_at=now):
        outbox.cancel(pk, now=now)


def prune(*, now: datetime) -> None:
    """Forget what was taken out of the inbox long ago. What happened is in the audit log."""
    Notification.objects.filter(withdrawn_at__lt=now - _KEPT).delete()
