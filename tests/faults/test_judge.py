"""The judge of the storms is not taken in by forged evidence."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from approvals.models import ApprovalRequest
from crash_points import Point
from tests.faults.judge import Evidence, _cause

BEGUN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
AT = BEGUN.timestamp()
PASSED = [(AT + 0.01, 41, "after-claim"), (AT + 0.02, 42, "before-send"), (AT + 9, 43, str(Point.BEFORE_CLAIM))]


@pytest.mark.parametrize(
    ("kill", "cause"),
    [
        ({"at": AT + 1, "pids": [42], "name": "worker 1"}, "worker"),
        ({"at": AT + 600, "pids": [42], "name": "worker 1"}, None),  # long after the row was given up
        ({"at": AT + 1, "pids": [41], "name": "worker 1"}, None),  # another one had the call by then
        ({"at": AT + 0.01, "pids": [42], "name": "worker 1"}, None),  # it was alive later
        ({"at": AT + 1, "pids": [42], "name": "beat"}, None),
    ],
)
def test_a_lost_outcome_has_a_cause_only_if_its_own_worker_was_killed_in_time(
    kill: dict[str, object], cause: str | None
) -> None:
    row = ApprovalRequest(execution_started_at=BEGUN, executed_at=BEGUN + timedelta(seconds=60))
    evidence = Evidence(answers=[], sends=Counter(), kills=[kill], passed=defaultdict(list, {"x": PASSED}))
    assert _cause(evidence, "x", row) == cause
