"""Reading the log: pages by key, newest first, and the story of one request. Costs the same over any number of rows."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q

from audit.filters import Filters, planned_for_values, select
from audit.models import AuditEvent, AuditEventQuerySet

ROWS_PER_PAGE = 50
MOST_EXAMINED = 20_000  # rows that one page looks through, where no index serves all of its filters
MOST_OF_A_STORY = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Key(NamedTuple):
    """The place of a row in the order of time. Written `MICROSECONDS-SEQ` in addresses."""

    at: datetime
    seq: int

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // _MICROSECOND}-{self.seq}"


def parse_key(text: str) -> Key | None:
    """The key that TEXT writes; None for anything else."""
    microseconds, _, seq = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (microseconds, seq)):
        return None
    try:
        return Key(_EPOCH + int(microseconds) * _MICROSECOND, int(seq))
    except OverflowError:
        return None


@dataclass(frozen=True, kw_only=True)
class Page:
    rows: list[AuditEvent]
    older: Key | None  # where the next page begins; None at the end of the log
    examined_to: datetime | None  # set when the page stopped looking before it was full


def read_page(*, owner_id: UUID, filters: Filters, before: Key | None) -> Page:
    """Up to ROWS_PER_PAGE rows older than BEFORE, newest first.

    Where no index serves all filters at once, a page looks through MOST_EXAMINED rows and then says how far it got.
    """
    with planned_for_values():
        return _read_page(owner_id, filters, before)


def _read_page(owner_id: UUID, filters: Filters, before: Key | None) -> Page:
    found, among = select(owner_id=owner_id, filters=filters)
    if before is not None:
        found = _older(found, before)
    found = found.order_by("-at", "-seq")
    end = None if among is None else _end_of_look(_older(among, before) if before else among)
    if end is not None:
        found = found.filter(at__gte=end.at).exclude(at=end.at, seq__lt=end.seq)
    rows = list(found.defer("hash", "canonical")[: ROWS_PER_PAGE + 1])
    shown = rows[:ROWS_PER_PAGE]
    if len(rows) > ROWS_PER_PAGE:
        return Page(rows=shown, older=Key(shown[-1].at, shown[-1].seq), examined_to=None)
    return Page(rows=shown, older=end, examined_to=end.at if end else None)


def story_of(*, event: AuditEvent) -> list[AuditEvent]:
    """The story that the event is a part of; the event alone where it has neither request nor approval."""
    if event.request_id is None and event.approval_id is None:
        return [event]
    return story(owner_id=event.owner_id, request_id=event.request_id, approval_id=event.approval_id)


def story(*, owner_id: UUID, request_id: UUID | None, approval_id: UUID | None) -> list[AuditEvent]:
    """Every row of the request and of its approval, in order; at most MOST_OF_A_STORY.

    An approval is decided and run in requests of their own, so the way goes from the request to its approvals and
    from there to all of their rows.
    """
    rows = AuditEvent.objects.for_owner(owner_id)
    requests = {request_id} if request_id else set()
    approvals = {approval_id} if approval_id else set()
    if requests:
        of_request = rows.filter(request_id__in=requests, approval_id__isnull=False)
        approvals.update(one for one in of_request.values_list("approval_id", flat=True)[:MOST_OF_A_STORY] if one)
    if approvals:
        of_approvals = rows.filter(approval_id__in=approvals, request_id__isnull=False)
        requests.update(one for one in of_approvals.values_list("request_id", flat=True)[:MOST_OF_A_STORY] if one)
    related = Q(request_id__in=requests) | Q(approval_id__in=approvals)
    return list(rows.filter(related).defer("hash").order_by("seq")[:MOST_OF_A_STORY])


def _older(rows: AuditEventQuerySet, key: Key) -> AuditEventQuerySet:
    """Rows after KEY in the order of pages. The first condition is the one that an index can start from."""
    return rows.filter(at__lte=key.at).exclude(at=key.at, seq__gte=key.seq)


def _end_of_look(rows: AuditEventQuerySet) -> Key | None:
    """The last row that is looked at; None when there are no more than MOST_EXAMINED. Reads an index only."""
    keys = rows.order_by("-at", "-seq").values_list("at", "seq")
    last = keys[MOST_EXAMINED - 1 : MOST_EXAMINED].first()
    return Key(*last) if last else None
