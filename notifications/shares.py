"""Shares of the messenger's threads: a slow push service or mail server must not hold up the messages of others."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLACES = 4  # of one share
_IN_A_ROW = 50  # messages; the next sweep goes on
_lock = threading.Lock()
_taken: Counter[str] = Counter()  # by share; only what is not zero


@contextmanager
def place(share: str) -> Iterator[bool]:
    """Whether there is a place left in the share, held for as long as the block runs. Nobody waits for one."""
    with _lock:
        is_free = _taken[share] < PLACES
        _taken[share] += is_free
    try:
        yield is_free
    finally:
        with _lock:
            _taken[share] -= is_free
            if not _taken[share]:
                del _taken[share]


def send_in_turn(*, share: str, first: int, more: Callable[[], int | None], send: Callable[[int], None]) -> None:
    """Send `first`, then what else of the share is to be sent. Without a place nothing: who has the places sees to it.

    `more` names what is due now, if anything is; `send` leaves nothing due behind that it was given.
    """
    with place(share) as is_free:
        if not is_free:
            return
        pk: int | None = first
        for _ in range(_IN_A_ROW):
            if pk is None:
                return
            send(pk)
            last, pk = pk, more()
            if pk == last:
                return  # it was not dealt with: the next sweep tries again
