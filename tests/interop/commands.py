"""A client's command line, run as a person would: what it prints, what it leaves in its home."""

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 30.0


class Command:
    """One command, running in a folder of its own."""

    def __init__(self, argv: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path) -> None:
        self.printed = ""
        self.process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def until(self, words: str) -> str:
        """The line that has WORDS in it; waits for it."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.printed += line
            if words in line:
                return line
        raise AssertionError(f"it ended with {self.process.wait()} and never said {words!r}: {self.printed}")

    def answer(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def finish(self) -> int:
        """Its exit status; `printed` is complete then."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.printed += line
        self._listener.join()
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End it and what it started, if it has not ended by itself."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._listener.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)
