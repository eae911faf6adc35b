"""The one-machine set of services for `make run` and for tests: start, stop, health."""

import hashlib
import os
import tempfile
from pathlib import Path

_LONGEST_SOCKET_PATH = 90  # sun_path holds 108 bytes; PostgreSQL adds "/.s.PGSQL.5432"


def socket_dir(data_dir: Path) -> Path:
    """Where both servers put their sockets: under DATA, or in the temporary folder when that path is too long."""
    run = data_dir / "run"
    if len(os.fsencode(run)) <= _LONGEST_SOCKET_PATH:
        return run
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"agentvalet-{os.getuid()}-{name}"


def database_url(data_dir: Path) -> str:
    """URL of the embedded PostgreSQL, whether it runs or not."""
    return f"postgres://agentvalet@/{socket_dir(data_dir) / 'pg'}/agentvalet"


def redis_url(data_dir: Path) -> str:
    """URL of the embedded Valkey, whether it runs or not."""
    return f"unix://{socket_dir(data_dir) / 'valkey.sock'}"
