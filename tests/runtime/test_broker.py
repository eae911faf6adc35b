"""Sending a wake-up: it reaches our broker, and a broker that is away neither fails nor holds up the click."""

import os
import subprocess
import sys
from uuid import uuid4

from django.conf import settings
from redis import Redis

from approvals.tasks import wake_worker
from tests.runtime.installation import ROOT

_TIMED = """
import time, uuid, django
django.setup()
from approvals.tasks import wake_worker
started = time.monotonic()
wake_worker(uuid.uuid4())
print(time.monotonic() - started)
"""


def test_a_wake_up_reaches_our_broker() -> None:
    broker = Redis.from_url(settings.REDIS_URL)
    broker.delete("celery")
    wake_worker(uuid4())
    assert broker.llen("celery") == 1
    broker.delete("celery")
    broker.close()


def test_a_broker_that_is_away_does_not_hold_up_the_click() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED],
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": "unix:///nowhere/valkey.sock"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert float(done.stdout) < 3
    assert "the sweep will send it again" in done.stderr
