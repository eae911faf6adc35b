"""The servers that tests stand on."""

import socket
from pathlib import Path

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection


@pytest.mark.django_db
def test_tests_run_on_postgresql_as_an_ordinary_role() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, current_setting('fsync') FROM pg_roles WHERE rolname = user")
        assert cursor.fetchone() == ("agentvalet", False, "off")


def test_the_session_has_its_own_broker() -> None:
    client = redis.Redis.from_url(settings.REDIS_URL)
    assert client.ping()
    client.close()


def test_the_database_socket_lies_in_a_private_directory() -> None:
    folder = Path(settings.DATABASES["default"]["HOST"])
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_test_cannot_reach_past_this_machine() -> None:
    with socket.socket() as plain, pytest.raises(RuntimeError), pytest.warns(UserWarning, match="192.0.2.1"):
        plain.connect(("192.0.2.1", 80))


@pytest.mark.django_db(transaction=True)
def test_the_application_role_cannot_switch_triggers_off() -> None:
    with connection.cursor() as cursor, pytest.raises(psycopg.errors.InsufficientPrivilege):
        cursor.connection.execute("SET session_replication_role = replica")
