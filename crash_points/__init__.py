"""The places at which the fault suite ends a process of ours, as a power cut would. Outside the test mode: nothing.

They are live only under AGENTVALET_MODE=test with AGENTVALET_CRASH_POINTS naming a folder; in any other mode
`agentvalet.settings` refuses to load while the variable is set. A file in the folder that is called like a point arms
it, once: the process that takes the file away dies by SIGKILL. If there is a text in it, only who works on that dies.
Whoever passes a point adds a line to the folder's file `trace`, so that afterwards it can be told how far each process
got. Imports nothing of ours: every layer may use it.
"""

import os
import signal
import time
from enum import StrEnum
from pathlib import Path


class Point(StrEnum):
    """In the order in which an approved call passes them."""

    BEFORE_DECISION_COMMIT = "before-commit-of-the-decision"
    BEFORE_WAKE_UP = "before-wake-up"  # the decision is committed, no worker has been told
    BEFORE_CLAIM = "before-claim"
    BEFORE_INTENT_COMMIT = "before-commit-of-the-intent"
    AFTER_CLAIM = "after-claim"
    BEFORE_SEND = "before-send"
    MID_SEND = "mid-send"  # connected; libcurl is about to write the request
    AFTER_RESPONSE = "after-response"
    BEFORE_OUTCOME_COMMIT = "before-commit-of-the-outcome"
    AFTER_COMMIT = "after-commit"


_IN_TEST_MODE = os.environ.get("AGENTVALET_MODE") == "test"
_FOLDER = os.environ.get("AGENTVALET_CRASH_POINTS", "") if _IN_TEST_MODE else ""


def crash_point(point: Point, subject: object = "") -> None:
    """Die here if the fault suite wants it. `subject` is what is being worked on, for the trace."""
    if _FOLDER:
        _pass(Path(_FOLDER), point, subject)


def _pass(folder: Path, point: Point, subject: object) -> None:
    with (folder / "trace").open("a") as trace:  # one short write in append mode: lines of many processes stay whole
        trace.write(f"{time.time():.6f} {os.getpid()} {point} {subject}\n")
    try:
        if (folder / point).read_text() in {"", str(subject)}:
            (folder / point).unlink()
        else:
            return
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
