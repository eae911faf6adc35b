"""A client in a process of its own that takes orders as JSON lines and tells what came of them (tests/clients)."""

import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

Line = dict[str, Any]
PATIENCE = 75.0  # seconds: a client waits for fifty at most


class Pending:
    """An order on its way."""

    def __init__(self) -> None:
        self.progress: list[Line] = []
        self._outcome: queue.Queue[Line] = queue.Queue()
        self._kept: Line | None = None

    def hear(self, line: Line) -> None:
        if "progress" in line:
            self.progress.append(line["progress"])
        else:
            self._outcome.put(line)

    @property
    def outcome(self) -> Line:
        """{"returned": …}, or what was raised; waits for it."""
        if self._kept is None:
            self._kept = self._outcome.get(timeout=PATIENCE)
        return self._kept


class Remote:
    """One running client process."""

    def __init__(self, argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.log = log
        self.events: queue.Queue[Line] = queue.Queue()
        self._orders: dict[int, Pending] = {}
        with log.open("a") as stderr:
            self.process = subprocess.Popen(
                argv, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = self.process.stdin
        self._listener = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self._listener.start()

    def order(self, do: str, **more: Any) -> Pending:
        number, pending = len(self._orders), Pending()
        self._orders[number] = pending
        self._stdin.write(json.dumps({"id": number, "do": do} | more) + "\n")
        self._stdin.flush()
        return pending

    def event(self, name: str, *, patience: float) -> Line:
        """The next event, which has to be NAME. Raises queue.Empty after PATIENCE seconds."""
        event = self.events.get(timeout=patience)
        assert event["event"] == name, event
        return event

    def close(self) -> None:
        self._stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _listen(self, stdout: IO[str]) -> None:
        for text in stdout:
            line = json.loads(text)
            if "event" in line:
                self.events.put(line)
            else:
                self._orders[line.pop("id")].hear(line)
