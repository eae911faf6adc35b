"""A whole installation whose every process can be killed and started again: the servers, web, two workers, two beats.

The processes are those that `manage.py up` starts, with the same command lines, but without its supervisor, which waits
longer and longer before it starts again what keeps dying.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import redis

from agentvalet import command_lines, embedded, keys, processes
from crash_points import Point
from tests.boot import give_migrated_cluster
from tests.runtime.installation import ROOT, bare_environment, eventually, free_port, manage
from tests.world import CountingPlatform, public_key

AGENTS = 4
PASSWORD = "correct horse battery"
DECIDERS = [f"approver{number}@example.com" for number in range(4)]
TIMEOUT, MARGIN = 1.0, 2.0  # seconds; together the lease
OWNER = f"""\
owner: Acme
members:
{"".join(f"  - {{email: {email}, role: approver, password_env: PASSWORD}}{chr(10)}" for email in DECIDERS)}
platforms:
  - {{id: acme-chat, name: Acme Chat, base_url: "URL", auth: {{type: bearer}}, scopes: {{"chat:write": ["POST /**"], "chat:post": ["POST /direct/**"]}}}}
connections: [{{platform: acme-chat, label: Main, default: true, credential_env: ACME_TOKEN}}]
agents:
"""
AGENT = """\
  - name: bot-{}
    public_key_file: bot.pub.pem
    grants: [{{platform: acme-chat, scope: "chat:write", require_approval: true}}, {{platform: acme-chat, scope: "chat:post"}}]
"""
ENVIRONMENT = {
    "AGENTVALET_MODE": "test",
    "AGENTVALET_APPROVED_TIMEOUT": str(TIMEOUT),
    "AGENTVALET_DIRECT_TIMEOUT": str(TIMEOUT),
    "AGENTVALET_LEASE_MARGIN": str(MARGIN),
    "AGENTVALET_MAX_PENDING": "0",
    "AGENTVALET_ACTIONS_PER_MINUTE": "0",
    "AGENTVALET_WEB_THREADS": "8",
    "AGENTVALET_WORKER_THREADS": "4",
    "PYTHONUNBUFFERED": "1",
}
WORKERS = ("worker 1", "worker 2")


class Site:
    """The processes by name, and what was done to them. Use it from one thread: their death signal follows it."""

    def __init__(self, platform: CountingPlatform, *, extra: Mapping[str, str] | None = None) -> None:
        self.platform = platform
        self.top = Path(tempfile.mkdtemp(prefix="agentvalet-faults-"))
        self.top.chmod(0o711 if os.getuid() == 0 else 0o700)
        self.data = self.top / "data"
        self.points = self.top / "crash-points"
        self.points.mkdir()
        self.kills = self.top / "kills.jsonl"
        self.kills.touch()
        self.port = free_port()
        self.agents: list[str] = []
        self.owner_id = ""
        self.env = bare_environment(
            keys.fresh()
            | ENVIRONMENT
            | {
                "AGENTVALET_DATA": str(self.data),
                "AGENTVALET_CRASH_POINTS": str(self.points),
                "AGENTVALET_PUBLIC_URL": f"http://localhost:{self.port}",
                "AGENTVALET_PRIVATE_TARGETS": platform.url.removeprefix("http://"),
                "DJANGO_SETTINGS_MODULE": "agentvalet.settings",
            }
            | dict(extra or {})
        )
        self.postgres = embedded.Postgres(data_dir=self.data)  # durable: what was committed survives every kill
        self.valkey = embedded.Valkey(data_dir=self.data)
        worker = command_lines.worker(threads=4)
        self._lines: dict[str, Sequence[str]] = {
            "web": command_lines.web(host="127.0.0.1", port=self.port, threads=8),
            WORKERS[0]: worker,
            WORKERS[1]: worker,
            "sweeper": command_lines.sweeper(threads=2),
            "messenger": command_lines.messenger(threads=2),
            "beat 1": command_lines.beat(schedule=self.data / "beat-1"),
            "beat 2": command_lines.beat(schedule=self.data / "beat-2"),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spoken_for: set[int] = set()  # whose end, if it comes, is that of a kill on record

    def start(self) -> None:
        give_migrated_cluster(self.data)
        self.postgres.start()
        self.valkey.start()
        self.run("-m", "agentvalet.startup")
        for name in self._lines:
            self.begin(name)
        (self.top / "bot.pub.pem").write_text(public_key("faults"))
        file = self.top / "valet.yaml"
        file.write_text(OWNER.replace("URL", self.platform.url) + "".join(map(AGENT.format, range(AGENTS))))
        secrets = {"PASSWORD": PASSWORD, "ACME_TOKEN": self.platform.token}
        made = json.loads(self.run("manage.py", "provision", str(file), env=secrets))
        self.agents = [agent["agent_id"] for agent in made["agents"]]
        self.owner_id = made["owner_id"]
        assert self.is_whole(patience=60)

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> str:
        """What a program of ours prints, run to its good end in the environment of the site."""
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=ROOT,
            env=self.env | dict(env or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def begin(self, name: str) -> None:
        with embedded.open_log(self.data, name.replace(" ", "-")).open("ab") as output:
            self._running[name] = processes.spawn(argv=self._lines[name], output=output, env=self.env, cwd=ROOT)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def is_dead(self, name: str) -> bool:
        return self._running[name].poll() is not None

    def kill(self, name: str) -> None:
        """SIGKILL for the process and all its children, at once."""
        process = self._running[name]
        processes.signal_group(process, signal.SIGKILL)
        process.wait()
        self._note(name, [process.pid])  # by now it has passed no further point

    def kill_servant_of_web(self) -> None:
        """SIGKILL for the process that serves; granian's own, above it, has to notice."""
        found = _children_of(self.pid("web"))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._note("web", found)
        self._spoken_for.add(self.pid("web"))

    def mend(self) -> None:
        """Start again what has ended; what nobody has killed died at a crash point."""
        for name, process in self._running.items():
            if process.poll() is not None:
                if process.pid not in self._spoken_for:
                    self._note(name, [process.pid])
                processes.signal_group(process, signal.SIGKILL)  # what a process left behind, as the supervisor does
                self.begin(name)

    def kill_postgres(self) -> None:
        """SIGKILL for the server and every one of its processes (they have groups of their own)."""
        assert self.postgres.process is not None
        pids = [*_children_of(self.postgres.process.pid), self.postgres.process.pid]
        self._note("postgres", pids)
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.postgres.process.wait()
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def shut_postgres_down_at_once(self) -> None:
        """SIGQUIT: its "immediate" shutdown, after which it has to recover."""
        assert self.postgres.process is not None
        self._note("postgres", [self.postgres.process.pid])
        self.postgres.process.send_signal(signal.SIGQUIT)
        self.postgres.process.wait()

    def kill_a_backend(self) -> None:
        """SIGKILL for one connection's process: the server ends all others and recovers by itself."""
        assert self.postgres.process is not None
        found = [pid for pid in _children_of(self.postgres.process.pid) if b"agentvalet" in _command(pid)]
        self._note("postgres", found[:1])
        for pid in found[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_valkey(self) -> None:
        """SIGKILL; it keeps nothing on disk, so it comes back empty."""
        assert self.valkey.process is not None
        self._note("valkey", [self.valkey.process.pid])
        processes.signal_group(self.valkey.process, signal.SIGKILL)
        self.valkey.process.wait()

    def arm(self, point: Point, subject: str = "") -> None:
        """The next process that passes the point dies; or the next that works on `subject` there."""
        draft = self.points / "draft"
        draft.write_text(subject)
        draft.rename(self.points / point)

    def disarm(self) -> None:
        for point in Point:
            (self.points / point).unlink(missing_ok=True)

    def is_armed(self, point: Point) -> bool:
        return (self.points / point).exists()

    def is_whole(self, *, patience: float = 20) -> bool:
        """Everything runs, and every worker waits for messages."""
        return eventually(
            lambda: not any(map(self.is_dead, self._running)) and self._waiting() >= 4 and self.health() == 200,
            patience=patience,
        )

    def health(self) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health", headers={"Host": f"localhost:{self.port}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.postgres.connect(database="agentvalet") as connection:
            return connection.execute(sql.encode(), values or None).fetchall()

    def verify_audit(self) -> subprocess.CompletedProcess[str]:
        return manage("verify_audit", env={name: value for name, value in self.env.items() if "AGENTVALET_" in name})

    def remove(self) -> None:
        for process in self._running.values():
            processes.signal_group(process, signal.SIGKILL)
            process.wait()
        self.valkey.stop()
        self.postgres.stop()
        shutil.rmtree(self.top, ignore_errors=True)

    def broker(self) -> "redis.Redis":
        return redis.Redis.from_url(embedded.redis_url(self.data))

    def _waiting(self) -> int:
        """How many workers wait for a message."""
        try:
            with self.broker() as broker:
                return sum(client["cmd"] == "brpop" for client in broker.client_list())
        except redis.RedisError:
            return 0

    def _note(self, name: str, pids: Sequence[int]) -> None:
        self._spoken_for.update(pids)
        with self.kills.open("a") as log:
            log.write(json.dumps({"at": time.time(), "name": name, "pids": list(pids)}) + "\n")


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
