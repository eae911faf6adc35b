"""What checks of the chains found, kept for the pages; and the check of a whole chain, asked for or once a day."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from audit.events import Actor, Event, Result
from audit.models import ChainCheck, ChainHead
from audit.recordable import LONG_TEXT, shortened
from audit.records import record
from audit.verify import Verdict, verify_owner

logger = logging.getLogger(__name__)

WHOLE_EVERY = timedelta(days=1)
LEASE = timedelta(hours=1)  # a check that has not ended by then died with its process
FRESH = timedelta(minutes=5)  # new rows are checked every minute: older than this, and nobody checks


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of an owner's chain."""

    check: ChainCheck | None
    head_seq: int
    is_late: bool  # there are rows that should have been checked by now

    @property
    def unchecked(self) -> int:
        return max(0, self.head_seq - (self.check.seq if self.check else 0))

    @property
    def is_waiting(self) -> bool:
        return self.check is not None and (self.check.requested_at or self.check.claimed_at) is not None


def standing(*, owner_id: UUID, now: datetime) -> Standing:
    """Two rows by their keys; nothing is verified here."""
    check = ChainCheck.objects.filter(pk=owner_id).first()
    head = ChainHead.objects.filter(pk=owner_id).values_list("seq", flat=True).first() or 0
    seen = check.checked_at if check else None
    is_behind = head > (check.seq if check else 0)
    return Standing(check=check, head_seq=head, is_late=is_behind and seen is not None and now - seen > FRESH)


def note(*, verdict: Verdict, is_whole: bool, now: datetime) -> None:
    """Keep the outcome of a check that began at NOW. A bad row stays on display until the whole chain verifies."""
    ChainCheck.objects.get_or_create(pk=verdict.owner_id)
    row = ChainCheck.objects.filter(pk=verdict.owner_id)
    found: dict[str, object] = {
        "checked_at": now,
        "seq": verdict.seq,
        "bad_seq": verdict.bad_seq,
        "problem": shortened(verdict.reason, LONG_TEXT),
    }
    if is_whole:
        row.update(**found, whole_checked_at=now, claimed_at=None)
        row.filter(requested_at__lte=now).update(requested_at=None)
    else:
        (row.filter(bad_seq=None) if verdict.verifies else row).update(**found)


def ask(*, owner_id: UUID, actor: Actor, request_id: UUID, now: datetime) -> bool:
    """Have the whole chain checked soon, on record; False when that is waiting or under way already.

    Locks the row of the owner's checks, then the chain head.
    """
    with transaction.atomic():
        ChainCheck.objects.get_or_create(pk=owner_id)
        asked = _unclaimed(now).filter(pk=owner_id, requested_at=None).update(requested_at=now)
        if asked:
            record(
                event=Event.AUDIT_CHECK_REQUESTED,
                result=Result.INFO,
                owner_id=owner_id,
                actor=actor,
                request_id=request_id,
                now=now,
            )
    return bool(asked)


def check_one_whole_chain(*, now: datetime) -> Verdict | None:
    """Verify, from its first row, the chain that has waited longest; None when none is due or another is under way.

    One at a time in the whole installation, so that checks never take the threads that the sweep needs.
    """
    due = _unclaimed(now).filter(
        Q(requested_at__isnull=False) | Q(whole_checked_at=None) | Q(whole_checked_at__lte=now - WHOLE_EVERY)
    )
    order = (F("requested_at").asc(nulls_last=True), F("whole_checked_at").asc(nulls_first=True))
    if ChainCheck.objects.filter(claimed_at__gt=now - LEASE).exists():
        return None
    for owner_id in due.order_by(*order).values_list("pk", flat=True)[:1]:
        if not _unclaimed(now).filter(pk=owner_id).update(claimed_at=now):
            return None
        try:
            verdict = verify_owner(owner_id=owner_id)
        except BaseException:
            ChainCheck.objects.filter(pk=owner_id, claimed_at=now).update(claimed_at=None)
            raise
        note(verdict=verdict, is_whole=True, now=now)
        if not verdict.verifies:
            logger.error("audit chain broken: %s", verdict)
        return verdict
    return None


def _unclaimed(now: datetime) -> QuerySet[ChainCheck]:
    return ChainCheck.objects.filter(Q(claimed_at=None) | Q(claimed_at__lte=now - LEASE))
