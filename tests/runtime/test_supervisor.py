"""The supervisor's own rules, on children that only sleep."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentvalet.supervisor import Child, Interrupted, Interrupts, Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    supervisor = Supervisor(cwd=tmp_path, interrupts=Interrupts())
    supervisor.interrupts.install()
    yield supervisor
    supervisor.stop()
    for signum, handler in before.items():
        signal.signal(signum, handler)


def child(code: str, *, patience: float = 10) -> Child:
    argv = [sys.executable, "-c", code]
    return Child(name="child", argv=argv, env=os.environ, log=None, patience=patience)


def test_a_signal_interrupts_whatever_is_going_on(supervisor: Supervisor) -> None:
    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_whose_exception_python_dropped_still_stops(supervisor: Supervisor) -> None:
    with contextlib.suppress(Interrupted):  # as happens in a hook around fork
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted):
        supervisor.start(child("import time; time.sleep(60)"))
    supervisor.stop()
    assert supervisor.children[0].process is not None
    assert supervisor.children[0].process.returncode == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed_when_its_patience_ends(supervisor: Supervisor) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    stubborn = child(code, patience=0.2)
    supervisor.start(stubborn)
    supervisor.stop()
    assert stubborn.process is not None
    assert stubborn.process.returncode in {-signal.SIGKILL, -signal.SIGTERM}  # TERM when it had not begun to ignore
