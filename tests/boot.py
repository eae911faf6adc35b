"""The test boot: an own PostgreSQL and Valkey for the session, fresh keys, no network beyond this machine.

A plugin (`-p tests.boot`), because plugins are imported before pytest-django reads the settings. With pytest-xdist the
controller boots the servers and the workers inherit the environment; each worker has its own test database
(pytest-django) and its own Valkey database number.
"""

import atexit
import base64
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from agentvalet import embedded

MIGRATED = "agentvalet"  # the database that test databases are copies of; nobody connects to it
_BOOTED = "AGENTVALET_TEST_DATA"  # names the data directory once servers run; set for xdist workers


def _boot() -> Path:
    """Start both servers in a temporary data directory and point the settings at them."""
    for name in [name for name in os.environ if name.startswith("AGENTVALET_")]:
        del os.environ[name]  # a developer's own settings must not leak into tests
    top = Path(tempfile.mkdtemp(prefix="agentvalet-test-"))
    top.chmod(0o711 if os.getuid() == 0 else 0o700)  # PostgreSQL runs as `nobody` when root tests
    data = top / "data"
    postgres = embedded.Postgres(data_dir=data, durable=False)
    valkey = embedded.Valkey(data_dir=data)

    def stop() -> None:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(top, ignore_errors=True)

    atexit.register(stop)  # a session that is killed takes the servers along by PR_SET_PDEATHSIG
    postgres.start()
    valkey.start()

    def key() -> str:
        return base64.b64encode(secrets.token_bytes(32)).decode()

    os.environ |= {
        _BOOTED: str(data),
        "AGENTVALET_DATA": str(data),
        "DATABASE_URL": embedded.database_url(data),
        "AGENTVALET_SECRET_KEY": secrets.token_urlsafe(48),
        "AGENTVALET_VAULT_KEYS": f"k1:{key()}",
        "AGENTVALET_SEAL_KEY": key(),
        "AGENTVALET_AUDIT_KEY": key(),
        "AGENTVALET_TOKEN_KEY": key(),
        "AGENTVALET_RECEIPT_KEY": key(),
        "AGENTVALET_VAPID_KEY": key(),
    }
    root = Path(__file__).parent.parent
    for command in (
        ("collectstatic", "--noinput"),  # the pages name static files by their hashes
        ("migrate",),  # what every test database, and every installation of a test, is a copy of
    ):
        subprocess.run([sys.executable, str(root / "manage.py"), *command, "--verbosity", "0"], check=True)
    postgres.stop()
    _copy_cluster(data, data.with_name("migrated"))
    postgres.start()
    with postgres.connect() as connection:
        connection.execute("ALTER ROLE agentvalet CREATEDB")  # only pytest makes databases
    return data


def _copy_cluster(source: Path, target: Path) -> None:
    cluster = embedded.Postgres(data_dir=target)._cluster
    cluster.parent.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", embedded.Postgres(data_dir=source)._cluster, cluster], check=True)


def give_migrated_cluster(data: Path) -> None:
    """Spare an installation's first start the making of a cluster and all migrations."""
    _copy_cluster(DATA.with_name("migrated"), data)


def _xdist_number() -> int:
    """0 without xdist and in its controller, 1 for gw0, 2 for gw1 …"""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(worker.removeprefix("gw")) + 1 if worker else 0


DATA = Path(os.environ[_BOOTED]) if _xdist_number() else _boot()
os.environ["REDIS_URL"] = f"{embedded.redis_url(DATA)}?db={_xdist_number()}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """pytest-socket: nothing beyond this machine."""
    config.option.allow_hosts = "127.0.0.1,::1,localhost"
    config.option.allow_unix_socket = True


def superuser(database: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection to the test server as database superuser, in autocommit mode."""
    return embedded.Postgres(data_dir=DATA).connect(database=database)
