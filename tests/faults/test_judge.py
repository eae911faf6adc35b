"""The judge of the storms is not taken in by forged evidence."""

import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals import runs
from approvals.models import ApprovalRequest
from crash_points import Point
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_runs import run
from tests.faults.judge import KINDS, Evidence, _cause, _judge_kills, judge
from tests.faults.site import Site
from tests.runtime.installation import eventually
from tests.world import CountingPlatform, Side, submit

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
DUPLICATES, LOST, UNDECIDED = "duplicates", "lost decisions", "sends without a valid decision"
CONTRADICT, RECORD = "outcomes that contradict the platform", "audit rows that are not the transitions"


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


@pytest.mark.parametrize(
    ("approvals", "kills", "repeated", "hit", "spared"),
    [(2000, 4, 1, True, 0), (2000, 3, 1, True, 1), (2000, 2, 2, True, 1), (500, 1, 1, False, 1), (400, 0, 1, True, 0)],
)
def test_a_long_storm_has_killed_everything_often(
    approvals: int, kills: int, repeated: int, hit: bool, spared: int
) -> None:
    """Each by a kill of its own, noted once or again, that hit a process."""
    noted = [killed(name, n, pid=n) for name in KINDS if name != "messenger" for n in range(9)]
    noted += [killed("messenger", n, pid=n) | ({} if hit else {"pids": []}) for n in range(kills)] * repeated
    evidence = Evidence(answers=[], sends=Counter(), kills=noted, passed={})
    evidence.found["approvals"] = approvals
    _judge_kills(evidence)
    assert evidence.violations["kinds that were hardly killed"] == spared


def test_each_death_is_noted_once(platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(platform)
    monkeypatch.setattr(site, "_lines", {"messenger": ["sleep", "600"]})
    try:
        site.data.mkdir()
        site.begin("messenger")
        pids = [site.pid("messenger")]
        site.kill("messenger")
        site.mend()
        pids.append(site.pid("messenger"))
        os.kill(pids[1], signal.SIGKILL)  # as at a crash point
        assert eventually(lambda: site.is_dead("messenger"))
        for _ in range(2):
            site.mend()
        assert [json.loads(line)["pids"] for line in site.kills.read_text().splitlines()] == [[pid] for pid in pids]
    finally:
        site.remove()


@dataclass
class History:
    """A call that was made, one that was denied, and one whose worker was killed, with all that was written down."""

    made: ApprovalRequest
    denied: ApprovalRequest
    lost: ApprovalRequest
    evidence: Evidence

    def change(self, **values: Any) -> None:
        """Behind everybody's back, in the row of the call that was made."""
        ApprovalRequest.objects.filter(pk=self.made.pk).update(**values)

    def tell(self, approval: ApprovalRequest | UUID, verb: str, status: int, by: str = "") -> None:
        approval_id = str(approval if isinstance(approval, UUID) else approval.pk)
        self.evidence.answers.append(
            {"approval_id": approval_id, "verb": verb, "status": status, "by": by or self.made.decided_by}
        )


def history_of(side: Side, platform: CountingPlatform) -> History:
    made = run(approve(side, submit(side, body='{"n":1}')))
    denied = deny(side, submit(side, body='{"n":2}'))
    lost = approve(side, submit(side, body='{"n":3}'))
    begun = timezone.now()
    runs.claim(approval_id=lost.pk, now=begun)
    runs.give_up_lost(now=begun + runs.lease())
    at = begun.timestamp()
    answers = [{"kind": "approve", "approval_id": str(row.pk)} for row in (made, denied, lost)]
    evidence = Evidence(
        answers=answers,
        sends=Counter(request["headers"]["Idempotency-Key"] for request in platform.requests),
        kills=[{"at": at + 1, "pids": [MINE], "name": "worker 1"}],
        passed=defaultdict(list, {str(lost.pk): [(at, MINE, str(Point.AFTER_CLAIM))]}),
    )
    history = History(made, denied, lost, evidence)
    history.tell(made, "approve", 200)
    history.tell(denied, "deny", 204)
    history.tell(lost, "approve", 502)  # nobody was told of it
    return history


NOWHERE = UUID(int=7)
DOCTORED: list[tuple[Callable[[History], object], set[str]]] = [
    (lambda true: None, set()),
    (lambda true: true.evidence.sends.update([str(true.lost.pk)]), set()),  # it may have gone out
    (lambda true: true.evidence.sends.update([str(true.made.pk)]), {DUPLICATES, CONTRADICT}),
    (lambda true: true.evidence.sends.clear(), {CONTRADICT}),
    (lambda true: true.evidence.sends.update([str(true.denied.pk)]), {UNDECIDED}),
    (lambda true: true.evidence.sends.update([str(NOWHERE)]), {UNDECIDED}),
    (lambda true: true.evidence.sends.update([""]), {UNDECIDED}),
    (lambda true: true.evidence.kills.clear(), {"unknowns without a cause"}),
    (lambda true: true.evidence.passed.clear(), {"unknowns without a cause"}),
    (lambda true: true.evidence.answers.append({"kind": "leave", "approval_id": str(NOWHERE)}), {LOST}),
    (lambda true: true.tell(NOWHERE, "approve", 200), {LOST}),
    (lambda true: true.tell(true.denied, "approve", 200), {LOST}),
    (lambda true: true.tell(true.made, "approve", 200, by="somebody@else.example"), {LOST}),
    (lambda true: true.change(form=b"{}"), {UNDECIDED}),
    (lambda true: true.change(decided_by="somebody@else.example"), {UNDECIDED, LOST}),
    (lambda true: true.change(executed_at=None, result_json=None, result_status=None), {"stuck", RECORD}),
    (lambda true: true.change(result_json=None, result_status=None, execution_error="Lost."), {RECORD}),
]


def test_the_judge_sees_through_a_doctored_history(acme: Side, platform: CountingPlatform) -> None:
    history = history_of(acme, platform)
    kept = deepcopy(history.evidence)
    seen = []
    for doctor, _ in DOCTORED:
        history.evidence = deepcopy(kept)
        with transaction.atomic():
            doctor(history)
            judge(history.evidence)
            transaction.set_rollback(True)
        seen.append({name for name, times in history.evidence.violations.items() if times})
    assert seen == [violations for _, violations in DOCTORED]
