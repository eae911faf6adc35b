"""Who was told of a call that waits, by which way, and whether it arrived: lines for its card."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Prefetch
from django.utils.safestring import SafeString

from agents.reveal import reveal_html
from approvals.models import ApprovalRequest
from approvals.telling import tag_of
from notifications.deliveries import ASKING, Channel, Delivery, Purpose
from notifications.models import Notification

MOST_TOLD = 30  # lines of one card


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message: "admin@acme.example, Phone: pushed at …"."""

    who: SafeString
    word: str  # "pushed", "mailed", "reminded"
    at: datetime | None  # when the push service or the mail server took it
    failure: SafeString  # why it did not arrive, or not yet
    is_open: bool  # it is still being tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """All that there is to say of one call."""

    approval_id: UUID
    lines: list[Told]
    more: int = 0  # messages that have no line
    is_kept: bool = True  # False: it is so long ago that nobody knows any more (`notifications.inbox.prune`)
    due_ms: int | None = None  # milliseconds since 1970; when a page that stays open has to ask again, if ever


def told_of(approvals: Iterable[ApprovalRequest], *, now: datetime) -> dict[UUID, Telling]:
    """Each of them, with the first messages first. Two queries for all."""
    by_tag = {tag_of(approval): approval for approval in approvals}
    owners = {approval.owner_id for approval in by_tag.values()}
    asking = Prefetch("deliveries", Delivery.objects.filter(purpose__in=ASKING).order_by("pk"))
    found = Notification.objects.filter(owner__in=owners, tag__in=list(by_tag)).prefetch_related(asking)
    told = {one.pk: Telling(approval_id=one.pk, lines=[], is_kept=False) for one in by_tag.values()}
    return told | {by_tag[line.tag].pk: _telling(by_tag[line.tag].pk, line, now) for line in found}


def _telling(approval_id: UUID, line: Notification, now: datetime) -> Telling:
    rows = list(line.deliveries.all())
    is_over = line.is_over(now)
    lines = [_line(row, is_over=is_over) for row in rows]
    due_ms = None
    if any(one.is_open for one in lines):
        due_ms = 0
    elif line.remind_at is not None and not is_over:
        due_ms = int(line.remind_at.timestamp() * 1000)
    return Telling(
        approval_id=approval_id, lines=lines[:MOST_TOLD], more=len(lines[MOST_TOLD:]), is_kept=True, due_ms=due_ms
    )


def _line(row: Delivery, *, is_over: bool) -> Told:
    word = "mailed" if row.channel == Channel.MAIL else "pushed"
    return Told(
        who=reveal_html(row.recipient),
        word="reminded" if row.purpose == Purpose.REMINDER else word,
        at=row.arrived_at,
        failure=reveal_html(row.failure) if row.failure else SafeString(""),
        is_open=row.next_try_at is not None and (row.under_way or not is_over),
    )
