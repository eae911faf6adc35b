"""Writing an outcome down although the database goes away: nobody can get it a second time."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from audit.events import Event
from audit.models import AuditEvent

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_RETRY_EVERY = 0.5  # seconds between tries


def until_written(write: Callable[[], _T], *, found: Callable[[], _T | None] = lambda: None, patience: float) -> _T:
    """What `write` returns, tried again for `patience` seconds, also across a restart of the database.

    A try that broke may have been committed all the same: before another one, `found` looks for what it wrote;
    a `write` that sees that by itself needs none.

    Raises:
        OperationalError, InterfaceError: the database stayed away.
    """
    deadline = time.monotonic() + patience
    broken = False
    while True:
        try:
            before = found() if broken else None
            return write() if before is None else before
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            broken = True
            logger.warning("the database is away; the outcome of a call is kept until it is back")
            connection.close()
            time.sleep(_RETRY_EVERY)


def outcome_on_record(owner_id: UUID, request_id: UUID, event: Event) -> UUID | None:
    """The id of the audit row with the outcome of a direct call, if it is there."""
    rows = AuditEvent.objects.for_owner(owner_id).filter(request_id=request_id, event=event)
    return rows.values_list("pk", flat=True).first()
