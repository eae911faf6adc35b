"""The database backend (Django wants the name `base`)."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Looks at each connection before it is used.

    A restart of the database leaves a pool full of dead ones. The pool can look too (CONN_HEALTH_CHECKS), but waits
    longer before each next one, until its time is up and the request has failed: here they are gone in milliseconds.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        if self.pool is None:
            return connection
        for _ in range(self.pool.max_size):
            try:
                ConnectionPool.check_connection(connection)
            except psycopg.OperationalError:
                self.pool.putconn(connection)  # it sees that it is broken and opens another one in its place
                connection = super().get_new_connection(conn_params)
            else:
                break
        return connection
