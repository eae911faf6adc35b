"""Writing down what nobody can get a second time, although the database or a key service goes away for a moment."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_RETRY_EVERY = 0.5  # seconds between tries


def until_written(
    write: Callable[[], _T],
    *,
    found: Callable[[], _T | None] = lambda: None,
    patience: float,
    also: tuple[type[Exception], ...] = (),
) -> _T:
    """What `write` returns, tried again for `patience` seconds, also across a restart of the database.

    A try that broke may have been committed all the same: before another one, `found` looks for what it wrote; a
    `write` that sees that by itself needs none. Of the errors in `also` a try wrote nothing.

    Raises:
        OperationalError, InterfaceError: the database stayed away.
        What is in `also`, if the last try ended in it.
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
            logger.warning("the database is away; what has to be written down is kept until it is back")
            connection.close()
        except also as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("what has to be written down is kept for another try: %s", error)
        time.sleep(_RETRY_EVERY)
