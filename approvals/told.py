"""Who was told of a call that waits, by which way, and whether it arrived: lines for its card."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils.safestring import SafeString

from agents.reveal import reveal_html
from approvals.models import ApprovalRequest
from approvals.telling import tag_of
from notifications.deliveries import ASKING, Channel, Delivery, Purpose

MOST_TOLD = 30  # lines of one card


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message: "admin@acme.example, Phone: pushed at …"."""

    who: SafeString
    word: str  # "pushed", "mailed", "reminded"
    at: datetime | None  # when the push service or the mail server took it
    failure: SafeString  # why it did not arrive, or not yet
    is_open: bool  # it is still being tried


def told_of(approvals: Iterable[ApprovalRequest]) -> dict[UUID, list[Told]]:
    """One query for all of them; the first messages first."""
    by_tag = {tag_of(approval): approval.pk for approval in approvals}
    owners = {approval.owner_id for approval in approvals}
    rows = (
        Delivery.objects.filter(notification__owner__in=owners, notification__tag__in=list(by_tag), purpose__in=ASKING)
        .select_related("notification")
        .order_by("pk")
    )
    told: dict[UUID, list[Told]] = {}
    for row in rows:
        lines = told.setdefault(by_tag[row.notification.tag], [])
        if len(lines) < MOST_TOLD:
            lines.append(_line(row))
    return told


def _line(row: Delivery) -> Told:
    word = "mailed" if row.channel == Channel.MAIL else "pushed"
    return Told(
        who=reveal_html(row.recipient),
        word="reminded" if row.purpose == Purpose.REMINDER else word,
        at=row.arrived_at,
        failure=reveal_html(row.failure) if row.failure else SafeString(""),
        is_open=row.next_try_at is not None,
    )
