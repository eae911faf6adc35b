"""Fixtures of every test. The servers behind them are `tests.boot`'s."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.db.backends.postgresql.operations import DatabaseOperations

from tests.boot import MIGRATED, superuser

pytest_plugins = ["tests.world_fixtures", "tests.chromium", "tests.push_fixtures", "tests.mail_fixtures"]


_LONG = ("services", "interop", "browser", "long")  # marks of what begins first, so that it does not end last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first: several processes then end at about the same time."""

    def place(item: pytest.Item) -> int:
        return next((number for number, mark in enumerate(_LONG) if item.get_closest_marker(mark)), len(_LONG))

    first = {item.path: len(_LONG) for item in items}
    for item in items:
        first[item.path] = min(first[item.path], place(item))
    items.sort(key=lambda item: first[item.path])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """Test databases are copies of a migrated one, and emptied by a superuser.

    Transactional tests end with TRUNCATE, which the audit triggers refuse to the application, rightly. So the flush
    between tests runs as superuser with triggers off; tests themselves keep the ordinary role.
    """

    def flush(self: DatabaseOperations, sql_list: list[str]) -> None:
        with superuser(str(self.connection.settings_dict["NAME"])) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in sql_list:
                connection.execute(statement.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", flush)
        patch.setitem(connections["default"].settings_dict["TEST"], "TEMPLATE", MIGRATED)
        yield


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The server goes with all its databases when the session ends; a session that still looks at one is no failure."""
    return True


@pytest.fixture(scope="session", autouse=True)
def unread_static_files() -> None:
    """Every test client has a handler of its own, and WhiteNoise would read all static files anew for each."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """What one test asks for does not count against the next."""
    caches["default"].clear()
