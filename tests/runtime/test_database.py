"""The pool of database connections, after the database has ended all of them."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection, connections

from tests.boot import superuser
from tests.world import Side

pytestmark = pytest.mark.django_db(transaction=True)
MANY = 8


def read() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


@pytest.fixture
def full_pool() -> Iterator[None]:
    """MANY connections that were used at one time, and are idle now."""
    connection.close()
    meet = threading.Barrier(MANY, timeout=20)

    def use() -> None:
        read()
        meet.wait()
        connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield
    connection.close()


def end_all() -> int:
    name = connection.settings_dict["NAME"]
    with superuser("postgres") as server:
        ended = server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'agentvalet'",
            [name],
        ).fetchall()
        return len(ended)


def test_the_first_request_after_it_is_served_at_once(full_pool: None) -> None:
    assert end_all() >= MANY
    began = time.monotonic()
    assert [read() for _ in range(3)] == [1, 1, 1]
    assert time.monotonic() - began < 2  # a few milliseconds; the pool's own check takes seven seconds, or fails


def test_many_requests_at_once_are_served(full_pool: None) -> None:
    end_all()
    served: list[int] = []

    def use() -> None:
        served.append(read())
        connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served == [1] * MANY


def test_a_request_that_was_under_way_fails_and_the_next_is_served(acme: Side) -> None:
    read()
    end_all()
    with pytest.raises(OperationalError):
        read()
    connection.close()  # as every request does at its end
    assert read() == 1
