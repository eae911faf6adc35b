"""Fixtures of every test. The servers behind them are `tests.boot`'s."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db.backends.postgresql.operations import DatabaseOperations

from tests.boot import superuser

pytest_plugins = ["tests.world_fixtures", "tests.chromium", "tests.push_fixtures", "tests.mail_fixtures"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """Transactional tests end with TRUNCATE, which the audit triggers refuse to the application, rightly.

    So the flush between tests runs as superuser with triggers off; tests themselves keep the ordinary role.
    """

    def flush(self: DatabaseOperations, sql_list: list[str]) -> None:
        with superuser(str(self.connection.settings_dict["NAME"])) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in sql_list:
                connection.execute(statement.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", flush)
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
