"""Runs the real `manage.py up` in a data directory of its own and looks at its processes through /proc."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what the test boot put there, plus EXTRA."""
    ours = ("AGENTVALET_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(extra)


def manage(*argv: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MANAGE, *argv], env=bare_environment(env), capture_output=True, text=True, timeout=60, check=False
    )


def eventually(holds: Callable[[], object], *, patience: float = 20.0) -> bool:
    """True as soon as HOLDS() is; a refused connection counts as not yet."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if holds():
                return True
        time.sleep(0.05)
    return False


class Installation:
    """One data directory and, most of the time, one `up` on it."""

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="agentvalet-up-"))
        self.top.chmod(0o711 if os.getuid() == 0 else 0o700)
        self.data = self.top / "data"
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self.env = {"AGENTVALET_DATA": str(self.data)}

    def start(self, *options: str) -> str:
        """Start it; everything it prints up to the line that tells how to stop it."""
        self.process = subprocess.Popen(
            [*MANAGE, "up", "--port", str(self.port), *options],
            env=bare_environment(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if "Ctrl-C" in line:
                return printed
        raise AssertionError(f"`up` ended with {self.process.wait()}: {printed}")

    def ensure_started(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def pids(self, role: str) -> set[int]:
        return {pid for pid, name in self.processes().items() if name == role}

    def signal(self, signum: int) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def wait(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout:
            return self.process.wait(60)

    def health(self) -> int:
        """Status of /health."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health", headers={"Host": f"localhost:{self.port}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def processes(self) -> dict[int, str]:
        """Every process that was started for this data directory: id and name, found by environment or title."""
        mark = str(self.data).encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                if mark in command or mark in (folder / "environ").read_bytes():
                    found[int(folder.name)] = role_of(command.decode())
            except OSError:
                continue  # it ended, or it is somebody else's
        return found

    def wait_until_gone(self, *, patience: float) -> dict[int, str]:
        """What is still there after PATIENCE seconds."""
        deadline = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def order_of_ending(self, *, patience: float) -> list[str]:
        """The names of our processes, by the moment the last process of that name was seen."""
        seen: dict[str, float] = {}
        deadline = time.monotonic() + patience
        while (left := self.processes()) and time.monotonic() < deadline:
            seen |= dict.fromkeys(left.values(), time.monotonic())
        return sorted(seen, key=lambda name: seen[name])

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()
        self.wait_until_gone(patience=20)
        shutil.rmtree(self.top, ignore_errors=True)


def role_of(command: str) -> str:
    for word, role in (
        ("manage.py up", "up"),
        ("granian", "web"),
        ("celery.beat", "beat"),
        ("queues=sweep", "sweeper"),
        ("queues=messages", "messenger"),
        (" beat ", "beat"),
        (" worker ", "worker"),
        ("valkey-server", "valkey"),
        ("postgres", "postgres"),
    ):
        if word in command:
            return role
    return "web" if "multiprocessing" in command else command
