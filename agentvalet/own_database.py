"""The embedded PostgreSQL for a command that is run while the server is stopped."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from agentvalet import embedded
from agentvalet.startup import StartRefused, check_migrations
from agentvalet.supervisor import sole_run


@contextmanager
def running_database() -> Iterator[None]:
    """Within this, the database answers: where it is our own one and does not run, it runs for so long.

    Raises:
        CommandError: a sentence on why it does not.
    """
    with ExitStack() as stack:
        try:
            _knock()
        except psycopg.OperationalError as error:
            if settings.PRODUCTION or os.environ.get("DATABASE_URL"):
                reason = str(error).strip().splitlines()[0]
                raise CommandError(f"The database does not answer, check DATABASE_URL: {reason}") from None
            try:
                descriptor = stack.enter_context(sole_run(settings.DATA_DIR))
                server = embedded.Postgres(data_dir=settings.DATA_DIR)
                stack.callback(server.stop)
                server.start(pass_fds=[descriptor])
            except embedded.ServiceError as refused:
                raise CommandError(str(refused)) from None
            stack.callback(connection.close)
            try:
                check_migrations()
            except StartRefused:
                raise CommandError("The database is not set up for this version: run `manage.py up` first.") from None
        yield


def _knock() -> None:
    """Around the pool, which would wait for its timeout and hide the reason. Raises psycopg.OperationalError."""
    psycopg.connect(**connection.get_connection_params(), connect_timeout=5).close()
