"""How each of our processes is started. `agentvalet.launch` runs them; the fault suite does too, to end them."""

import sys
from pathlib import Path

_PYTHON = [sys.executable, "-m"]
_CELERY = [*_PYTHON, "celery", "-A", "agentvalet.celery"]
_WORK = [
    *_CELERY, "worker", "--pool=threads",
    "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO",
]  # fmt: skip


def web(*, host: str, port: int, threads: int) -> list[str]:
    """The web server. Calls under way are counted in its one worker process (`approvals.concurrency`)."""
    return [
        *_PYTHON, "granian", "--interface", "wsgi", "--http", "1", "--no-ws",
        "--host", host, "--port", str(port),
        "--workers", "1", "--blocking-threads", str(threads),
        # Counts connections, idle ones too; more wait to be accepted. Calls are counted by approvals.concurrency.
        "--backlog", "1024", "--backpressure", "512", "--http1-header-read-timeout", "15000",
        "--workers-kill-timeout", "15", "--log-level", "warning",
        "agentvalet.wsgi:application",
    ]  # fmt: skip


def worker(*, threads: int) -> list[str]:
    """Makes the approved calls."""
    return [*_WORK, "--queues=celery", f"--concurrency={threads}", "--hostname=worker@%h"]


def sweeper(*, threads: int) -> list[str]:
    """Looks after what the worker does, and never waits behind it."""
    return [*_WORK, "--queues=sweep", f"--concurrency={threads}", "--hostname=sweeper@%h"]


def messenger(*, threads: int) -> list[str]:
    """Sends messages. What hangs holds up neither calls nor what looks after them, nor others' messages (`shares`)."""
    return [*_WORK, "--queues=messages", f"--concurrency={threads}", "--hostname=messenger@%h"]


def beat(*, schedule: Path) -> list[str]:
    """Reminds the sweeper. `schedule` is a file of its own."""
    return [*_CELERY, "beat", "--schedule", str(schedule), "--pidfile=", "--loglevel=WARNING"]
