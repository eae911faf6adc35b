"""The judge of the storms is not taken in by forged evidence."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django.fixtures import Settings

from approvals.models import ApprovalRequest
from crash_points import Point
from tests.faults.judge import KINDS, Evidence, _cause, _judge_kills

BEGUN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
AT = BEGUN.timestamp()
CLAIM, MINE = str(Point.BEFORE_CLAIM), 42
PASSED = [
    (AT - 0.1, 41, "before-commit-of-the-intent"),
    (AT - 0.05, MINE, "before-commit-of-the-intent"),
    (AT + 0.01, 41, "after-claim"),
    (AT + 0.02, MINE, "before-send"),
    (AT + 9, 43, CLAIM),
]
ANSWERED = [*PASSED, (AT + 2, MINE, "after-response")]
COMMITTED = [*PASSED, (AT + 2, MINE, "after-commit")]
GIVEN_UP = 60  # seconds after the claim


def killed(name: str, after: float, pid: int = MINE) -> dict[str, object]:
    return {"at": AT + after, "pids": [pid], "name": name}


@pytest.mark.parametrize(
    ("kill", "passed", "cause"),
    [
        (killed("worker 1", 1), PASSED, "worker"),
        (killed("worker 1", 600), PASSED, None),  # long after the row was given up
        (killed("worker 1", 1, pid=41), PASSED, None),  # another one had the call by then
        (killed("worker 1", 0.01), PASSED, None),  # it was alive later
        (killed("worker 1", 3), COMMITTED, None),  # the outcome was committed
        (killed("beat", 1), PASSED, None),
        (killed("postgres", 0), PASSED, "postgres"),  # while the intent was committed
        (killed("postgres", 3), ANSWERED, "postgres"),  # while the outcome was
        (killed("postgres", 25), PASSED, "postgres"),  # while the platform worked on it
        (killed("postgres", -0.9), PASSED, None),  # before its intent: that would not have been committed
        (killed("postgres", 2 + 31), ANSWERED, None),  # the process had given up by then
        (killed("postgres", 55), PASSED, None),  # so had this one
        (killed("postgres", GIVEN_UP + 1), PASSED, None),
        (killed("postgres", 3), COMMITTED, None),
        (killed("postgres", 3), [(AT + 9, 43, CLAIM)], None),  # nobody had it
    ],
)
def test_a_lost_outcome_has_a_cause_only_if_it_was_lost_by_that_kill(
    settings: Settings, kill: dict[str, object], passed: list[tuple[float, int, str]], cause: str | None
) -> None:
    settings.APPROVED_TIMEOUT, settings.LEASE_MARGIN = 20, 30
    row = ApprovalRequest(execution_started_at=BEGUN, executed_at=BEGUN + timedelta(seconds=GIVEN_UP))
    evidence = Evidence(answers=[], sends=Counter(), kills=[kill], passed=defaultdict(list, {"x": passed}))
    assert _cause(evidence, "x", row) == cause


@pytest.mark.parametrize(("approvals", "kills", "spared"), [(2000, 4, 0), (2000, 3, 1), (400, 0, 0)])
def test_a_long_storm_has_killed_everything_often(approvals: int, kills: int, spared: int) -> None:
    names = [name for name in KINDS for _ in range(kills if name == "messenger" else 9)]
    evidence = Evidence(answers=[], sends=Counter(), kills=[{"name": name} for name in names], passed={})
    evidence.found["approvals"] = approvals
    _judge_kills(evidence)
    assert evidence.violations["kinds that were hardly killed"] == spared
