"""The parent of everything that `manage.py up` starts: ordered start, restarts, ordered stop.

Single-threaded and without Django's apps. Children carry a death signal (`agentvalet.processes`), so that nothing
stays behind when this process is killed; they also inherit the lock on DATA, which is free only when all are gone.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agentvalet import embedded, processes
from agentvalet.embedded import ServiceError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READY_DEADLINE = 60.0  # seconds for the first answer of the web server
_LOCK_DEADLINE = 60.0  # seconds for what a killed run left behind to end
_LONGEST_BACKOFF = 30.0  # seconds between restarts
_SETTLED = 60.0  # seconds after which a child's earlier failures are forgotten


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP came: stop everything."""


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into Interrupted, wherever the main thread is.

    What that leaves half-made is found again by `Supervisor.stop` or dies by its death signal. Python drops an
    exception that is raised in certain places (the hooks around fork are among them): hence `check`, at every step.
    """

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> None:
        """Begin. (`nohup` ignores SIGHUP, and a shell SIGINT in the background: that stays.)"""
        self.handle(self._interrupt)

    def check(self) -> None:
        """Raises Interrupted if a signal came at any time."""
        if self.asked:
            raise Interrupted

    @staticmethod
    def handle(handler: Callable[[int, FrameType | None], None]) -> None:
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, handler)

    def _interrupt(self, signum: int, frame: FrameType | None) -> NoReturn:
        self.asked = True
        raise Interrupted


@dataclass
class Child:
    """One process that is started again when it ends."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path | None  # None: it speaks on our own console
    patience: float  # seconds between SIGTERM and SIGKILL
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = None


@dataclass
class Supervisor:
    """Starts and watches; `stop()` undoes it in the order: children as listed, Valkey, PostgreSQL."""

    cwd: Path
    interrupts: Interrupts
    pass_fds: Sequence[int] = ()
    services: list[embedded.Postgres | embedded.Valkey] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def start_service(self, service: embedded.Postgres | embedded.Valkey) -> None:
        self.services.append(service)
        service.start(pass_fds=self.pass_fds)
        self.interrupts.check()

    def start(self, child: Child) -> None:
        if child not in self.children:
            self.children.append(child)
        child.restart_at = None
        child.started = time.monotonic()
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(child.log.open("ab")) if child.log else None
            child.process = processes.spawn(
                argv=child.argv, output=output, env=child.env, cwd=self.cwd, pass_fds=self.pass_fds
            )
        self.interrupts.check()

    def watch(self) -> NoReturn:
        """Restart children that end. Raises ServiceError when a service ends, Interrupted on a signal."""
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake up
        while True:
            self.interrupts.check()
            for service in self.services:
                if service.process is not None and service.process.poll() is not None:
                    said = embedded.last_line(service.log)
                    raise ServiceError(f"{service.name} ended, so everything was stopped: {said} ({service.log})")
            now = time.monotonic()
            for child in self.children:
                self._look_after(child, now)
            due = [child.restart_at for child in self.children if child.restart_at is not None]
            ready, _, _ = select.select([wake], [], [], max(0.0, min(due) - now) if due else None)
            if ready:
                os.read(wake, 4096)

    def _look_after(self, child: Child, now: float) -> None:
        if child.restart_at is not None:
            if child.restart_at <= now:
                self.start(child)
        elif child.process is not None and (code := child.process.poll()) is not None:
            processes.signal_group(child.process, signal.SIGKILL)  # workers that a killed granian left
            child.failures = 0 if now - child.started > _SETTLED else child.failures
            delay = min(_LONGEST_BACKOFF, 0.25 * 2**child.failures)
            child.failures += 1
            child.restart_at = now + delay
            where = f", see {child.log}" if child.log else ""
            say(f"{child.name} ended ({_ending(code)}); starting it again in {delay:g} s{where}")

    def stop(self) -> None:
        """Stop in order. A second signal kills what is left."""
        self.interrupts.handle(self._hurry)
        if self.children:
            say("Stopping …")
        for child in self.children:
            if child.process is not None:
                processes.stop(child.process, signum=signal.SIGTERM, deadline=child.patience)
        for service in reversed(self.services):
            service.stop()

    def _hurry(self, signum: int, frame: FrameType | None) -> None:
        for child in self.children:
            if child.process is not None:
                processes.signal_group(child.process, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def say(text: str) -> None:
    """One line on the console."""
    print(text, flush=True)  # noqa: T201 - this is the interface of `manage.py up`


@contextlib.contextmanager
def sole_run(data_dir: Path) -> Iterator[int]:
    """Hold the lock on DATA; yields its descriptor, for children to inherit. Raises ServiceError.

    A run that was killed leaves children that are about to end: they are waited for.
    """
    embedded.make_dir(data_dir)
    descriptor = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_DEADLINE
        while not _locked(descriptor):
            owner = int(os.pread(descriptor, 20, 0) or b"0")
            if _alive(owner):
                raise ServiceError(
                    f"AgentValet already runs on {data_dir} (process {owner}): stop it, or set AGENTVALET_DATA."
                )
            if time.monotonic() > deadline:
                raise ServiceError(f"Processes of an earlier run still use {data_dir}: end them first.")
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_port(*, host: str, port: int) -> None:
    """Raises ServiceError when nobody can listen there. (The web server would share a taken port silently.)"""
    if not 0 < port < 65_536:
        raise ServiceError(f"There is no port {port}: give one from 1 to 65535 with --port.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        raise ServiceError(f"Port {port} needs more rights than you have: give another with --port.") from None
    except socket.gaierror:
        raise ServiceError(f"{host} is not an address of this machine: give another with --host.") from None
    except OSError as error:
        raise ServiceError(
            f"Cannot listen on {host} port {port} ({error.strerror}): stop what does, or give another with --port."
        ) from None


def wait_until_served(child: Child, *, host: str, port: int, host_header: str) -> None:
    """Return when /health answers. Raises ServiceError when the child ends or takes too long."""
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    deadline = time.monotonic() + _READY_DEADLINE
    while time.monotonic() < deadline and child.process is not None and child.process.poll() is None:
        connection = HTTPConnection(reach, port, timeout=5)
        try:
            connection.request("GET", "/health", headers={"Host": host_header})
            status = connection.getresponse().status
            if status < 500:
                return
            if status == 500:  # it runs, and will not mend itself
                break
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    said = f"{embedded.last_line(child.log)} ({child.log})" if child.log else "see above"
    raise ServiceError(f"The web server did not start: {said}")
