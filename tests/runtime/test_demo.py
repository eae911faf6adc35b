"""`manage.py up --demo` a second time: the agent goes on where it was, and no password is shown that is none."""

import signal
from collections.abc import Iterator

import pytest

from agentvalet import demo
from tests.runtime.installation import eventually, manage
from tests.runtime.valet import Valet

pytestmark = pytest.mark.services

_WAITING = "SELECT count(*) FROM approvals_approvalrequest WHERE decision = 'pending'"
_CHANGE = """
from agents.models import User
user = User.objects.get(email="owner@example.com")
user.set_password("another one of mine")
user.save()
"""


@pytest.fixture
def valet() -> Iterator[Valet]:
    if not demo._AGENT_PYTHON.exists():
        pytest.fail("The demo agent is not installed: run `make demo`.")
    valet = Valet()
    try:
        yield valet
    finally:
        valet.remove()


def stop(valet: Valet) -> str:
    """Stop it; what the agent has printed."""
    assert valet.process is not None
    assert valet.process.stdout is not None
    valet.signal(signal.SIGTERM)
    printed = valet.process.stdout.read()
    valet.wait()
    valet.wait_until_gone(patience=30)
    return printed


def test_a_second_start_leaves_no_orphan_and_shows_no_password_that_was_changed(valet: Valet) -> None:
    password = (greeting := valet.start("--demo")).partition("Password")[2].split()[0]
    assert len(password) > 12, greeting
    assert eventually(lambda: valet.rows(_WAITING) == [(1,)])
    changed = manage("shell", "--command", _CHANGE, env=valet.env)
    assert changed.returncode == 0, changed.stderr
    assert "asks to post" in stop(valet)

    greeting = valet.start("--demo")
    assert "(the one you have given it since)" in greeting
    assert password not in greeting
    assert valet.process is not None
    assert valet.process.stdout is not None
    first = next(line for line in valet.process.stdout if "agent |" in line)
    assert "waits for what an earlier run asked for" in first
    assert valet.rows(_WAITING) == [(1,)]
    assert "asks to post" not in stop(valet)
