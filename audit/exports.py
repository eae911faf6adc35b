"""The log as a file: JSON lines, CSV for spreadsheets. Read in batches by key, so the memory is that of one batch."""

import csv
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

from audit.chain import timestamp
from audit.filters import Filters, planned_for_values, select
from audit.models import AuditEvent, ChainHead

BATCH = 1000  # rows per query and per piece of the answer
MOST_AT_ONCE = 2  # exports under way in this process: each holds one of its threads
IDLE = 60.0  # seconds without a batch, after which an export counts as given up by its reader
CSV_COLUMNS = (
    "time", "row", "event", "result", "agent_name", "agent_id", "platform", "action", "actor_kind", "actor_label",
    "actor_id", "reason", "request_id", "approval_id", "session_id", "audit_id", "metadata",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")  # a spreadsheet computes what begins so


class TooManyExports(Exception):
    """As many exports as may run are running."""


_lock = threading.Lock()
_last_batch: dict[object, float] = {}


def one_of_few(begin: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    """What BEGIN returns, counted as an export under way until it ends or its reader stops reading.

    Raises TooManyExports at once, before BEGIN is called, and what BEGIN raises.
    """
    export = object()
    with _lock:
        given_up = time.monotonic() - IDLE
        for one in [one for one, last in _last_batch.items() if last < given_up]:
            del _last_batch[one]
        if len(_last_batch) >= MOST_AT_ONCE:
            raise TooManyExports
        _last_batch[export] = time.monotonic()
    try:
        pieces = begin()
    except BaseException:
        _last_batch.pop(export, None)
        raise
    return _counted(export, pieces)


def _counted(export: object, pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        for piece in pieces:
            _last_batch[export] = time.monotonic()
            yield piece
    finally:
        _last_batch.pop(export, None)


def last_row(*, owner_id: UUID) -> int:
    """The number of the newest row on record, 0 if there is none: up to it nothing is added to the log any more."""
    return ChainHead.objects.filter(pk=owner_id).values_list("seq", flat=True).first() or 0


def count(*, owner_id: UUID, filters: Filters, up_to: int) -> int:
    """How many rows `matching` has."""
    found, _ = select(owner_id=owner_id, filters=filters)
    with planned_for_values():
        return found.filter(seq__lte=up_to).count()


def matching(*, owner_id: UUID, filters: Filters, up_to: int) -> Iterator[list[AuditEvent]]:
    """The rows up to number `up_to` in the order of time, oldest first, in batches."""
    found, _ = select(owner_id=owner_id, filters=filters)
    rows = found.filter(seq__lte=up_to).defer("hash").order_by("at", "seq")
    while True:
        with planned_for_values():
            batch = list(rows[:BATCH])
        if not batch:
            return
        yield batch
        last = batch[-1]
        rows = rows.filter(at__gte=last.at).exclude(at=last.at, seq__lte=last.seq)


def as_jsonl(batches: Iterable[list[AuditEvent]]) -> Iterator[bytes]:
    """Each record exactly as it was hashed: one line of ASCII JSON."""
    for batch in batches:
        yield "".join(f"{event.canonical}\n" for event in batch).encode()


def as_csv(batches: Iterable[list[AuditEvent]], *, reveal: Callable[[str], str]) -> Iterator[bytes]:
    """The log as `sheet` writes it."""
    return sheet(CSV_COLUMNS, (map(_texts, batch) for batch in batches), reveal=reveal)


def sheet(
    columns: Sequence[str], batches: Iterable[Iterable[Sequence[str]]], *, reveal: Callable[[str], str]
) -> Iterator[bytes]:
    """CSV: every cell quoted, on one line, REVEALed, and never a formula (a cell that would be one begins with ')."""
    lines: list[str] = []
    writer = csv.writer(_Lines(lines), quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for batch in batches:
        for texts in batch:
            writer.writerow([cell(reveal(text)) for text in texts])
        yield "".join(lines).encode()
        lines.clear()
    yield "".join(lines).encode()


def cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _texts(event: AuditEvent) -> tuple[str, ...]:
    metadata = json.dumps(event.metadata, ensure_ascii=False)
    return (
        timestamp(event.at),
        str(event.seq),
        event.event,
        event.result,
        event.agent_name,
        event.agent_id,
        event.platform,
        event.action,
        event.actor_kind,
        event.actor_label,
        event.actor_id,
        event.reason,
        str(event.request_id or ""),
        str(event.approval_id or ""),
        event.session_id,
        str(event.pk),
        metadata,
    )


class _Lines:
    """What csv.writer writes to."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append
