"""What has to be true before anything serves. `up` runs it as a process of its own: `python -m agentvalet.startup`.

Exit 0: all is well. Exit REFUSED: it is not, and the last line of output is one sentence that says what to do.
"""

import argparse
import os
import sys
from base64 import b64decode

import django
import psycopg
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.message import sanitize_address
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from approvals import receipt_keys
from platforms import vault
from platforms.addresses import parse_private_targets

REFUSED = os.EX_CONFIG  # not 1, which is how Python ends on any traceback
NO_OWNER = "There is no owner yet."  # the last line of output then
_MIGRATION_LOCK = 0x6167656E74  # any number that is ours: one start migrates, others wait for it


class StartRefused(Exception):
    """Something is missing. The text is one sentence that says what to do."""


def check_database() -> None:
    """Raises StartRefused when PostgreSQL does not answer or is too old."""
    try:  # around the pool, which would wait for its timeout and hide the reason
        with psycopg.connect(**connection.get_connection_params(), connect_timeout=5) as direct:
            version = direct.info.server_version
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StartRefused(f"The database does not answer, check DATABASE_URL: {reason}") from None
    if version < 150_000:
        raise StartRefused(f"The database is PostgreSQL {version // 10_000}: 15 or later is needed.")


def check_broker() -> None:
    """Raises StartRefused when Redis (or Valkey) does not answer."""
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5)
    try:
        client.ping()
    except redis.RedisError as error:
        raise StartRefused(f"The broker does not answer, check REDIS_URL: {error}") from None
    finally:
        client.close()


def check_migrations() -> None:
    """Raises StartRefused when the database is not as the code expects it."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise StartRefused("The database lacks migrations: run `python manage.py migrate` first.")


def migrate() -> None:
    """Bring the database up to date, one start at a time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        try:
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])


def check_vault() -> None:
    """Raises StartRefused when the vault keys do not open the stored credentials: one sample per key is tried.

    The first key has to seal and open, too, which it will be asked for when a credential comes in.
    """
    from platforms.models import Connection, credential_aad  # noqa: PLC0415 - models load after django.setup()

    try:
        vault.check_current_key()
        stored = Connection.objects.exclude(credential_key_id=vault.EMPTY.key_id)
        for row in stored.order_by("credential_key_id", "id").distinct("credential_key_id"):
            vault.open_sealed(
                vault.Sealed(
                    key_id=row.credential_key_id,
                    wrapped_key=bytes(row.credential_wrapped_key),
                    ciphertext=bytes(row.credential_ciphertext),
                ),
                aad=credential_aad(connection_id=row.id, version=row.credential_version),
            )
    except vault.KeyServiceError as error:
        raise StartRefused(
            f"{error} Check the AWS credentials, the region, and the way to the service, then start again"
            " (docs/operations.md)."
        ) from None
    except vault.VaultError as error:
        raise StartRefused(
            f"{error} Put the key that sealed the stored credentials back into AGENTVALET_VAULT_KEYS. If it is lost,"
            " `manage.py provision` takes new credentials, and `manage.py rotate_vault_key --forget-unreadable` gives"
            " up the old ones (docs/operations.md)."
        ) from None


def check_settings() -> None:
    """Raises StartRefused for a setting that loads, but of which no part of the product could make sense later."""
    for name in ("SEAL_KEY", "AUDIT_KEY", "TOKEN_KEY", "VAPID_KEY"):
        try:
            key = b64decode(getattr(settings, name), validate=True)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise StartRefused(
                f"AGENTVALET_{name} is not 32 bytes in base64: `manage.py make_keys` prints a fresh one."
            )
    try:
        receipt_keys.check_keys()
    except ImproperlyConfigured as error:
        raise StartRefused(str(error)) from None
    try:
        sanitize_address(settings.DEFAULT_FROM_EMAIL, "utf-8")
    except ValueError:
        raise StartRefused(
            "AGENTVALET_EMAIL_FROM is no sender's address: give one as in AgentValet <valet@example.com>, a name with"
            " commas in quotes."
        ) from None
    try:
        vault.check_keys()
    except vault.VaultError as error:
        raise StartRefused(str(error)) from None
    try:
        parse_private_targets(settings.PRIVATE_TARGETS)
    except ValueError as error:
        raise StartRefused(str(error)) from None


def main(argv: list[str]) -> int:
    """Check, prepare, check again; the exit code."""
    parser = argparse.ArgumentParser(prog="agentvalet.startup")
    parser.add_argument("--no-migrate", action="store_true", help="refuse to start instead of migrating")
    parser.add_argument("--no-static", action="store_true", help="leave the static files alone")
    parser.add_argument("--demo", metavar="URL", help="provision the demo, whose platform listens at URL")
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentvalet.settings")
    try:
        django.setup()
        check_settings()
        call_command("check")  # imports every route, which the web server would do at its first request only
        check_database()
        check_broker()
        check_migrations() if options.no_migrate else migrate()
        check_vault()
        if not options.no_static:
            call_command("collectstatic", interactive=False, verbosity=0)
        if options.demo:
            from agentvalet import demo  # noqa: PLC0415 - needs the models

            demo.prepare(base_url=options.demo)
        from agents.first_owner import is_needed  # noqa: PLC0415 - needs the models

        if is_needed():
            print(NO_OWNER)  # noqa: T201 - this is the interface of the module
    except (ImproperlyConfigured, StartRefused) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the interface of the module
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
