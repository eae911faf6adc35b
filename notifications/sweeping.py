"""What keeps a sweep going."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def going_on(logger: logging.Logger, what: str) -> Iterator[None]:
    """For sweeps: one row that cannot be dealt with must not keep all others waiting. It is logged, and tried again."""
    try:
        yield
    except Exception:
        logger.exception("%s failed; the next sweep tries again", what)
        if not connection.in_atomic_block:
            connection.close()  # it may be what failed; the next row gets a fresh one
