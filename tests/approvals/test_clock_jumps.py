"""The clock is put forward or back by an hour while calls are under way: at most one call, and nothing waits for ever.

Time is an argument of every function of ours, so another `now` is all that a process sees of such a jump. The sweep
takes it from the system, and gets it from there.
"""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import runs, tasks, transitions
from approvals.envelope import Answer
from approvals.execution import execute
from approvals.models import ApprovalRequest
from tests.approvals.test_decisions import approve, events
from tests.world import CountingPlatform, Side, submit

JUMP = timedelta(hours=1)


def sweep_at(moment: timedelta, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sweep with the clock put so far; the approvals for which a worker was woken."""
    now, woken = timezone.now() + moment, list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: now)
        patch.setattr(tasks, "wake_worker", lambda pk: woken.append(str(pk)))
        tasks.sweep()
    return woken


@pytest.mark.django_db
@pytest.mark.parametrize("jump", [JUMP, -JUMP], ids=["forward", "back"])
def test_a_call_that_is_under_way_ends_as_unknown_and_its_answer_comes_too_late(
    acme: Side, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    approval = approve(acme, submit(acme))
    runs.claim(approval_id=approval.pk, now=timezone.now())
    sweep_at(jump, monkeypatch)
    runs.finish(approval_id=approval.pk, answer=Answer(200, "{}"), now=timezone.now() + jump)
    approval.refresh_from_db()
    assert (approval.execution_error or "").startswith("outcome unknown:")
    assert events(approval)[-2:] == ["approval.executed", "approval.outcome_checked"]


@pytest.mark.django_db
def test_clocks_that_differ_by_seconds_give_nobody_up(acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = approve(acme, submit(acme))
    runs.claim(approval_id=approval.pk, now=timezone.now())
    for seconds in (-10, 10):
        sweep_at(timedelta(seconds=seconds), monkeypatch)
    approval.refresh_from_db()
    assert approval.executed_at is None


@pytest.mark.django_db
def test_a_decision_from_before_the_clock_was_put_back_is_not_forgotten(
    acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = approve(acme, submit(acme))
    assert sweep_at(-JUMP, monkeypatch) == [str(approval.pk)]
    execute(approval_id=approval.pk, now=timezone.now() - JUMP)
    assert len(platform.requests) == 1
    approval.refresh_from_db()
    assert approval.result_status == 200


@pytest.mark.django_db
def test_a_decision_from_before_the_clock_was_put_forward_is_too_old_and_said_to_be(
    acme: Side, platform: CountingPlatform
) -> None:
    approval = approve(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now() + JUMP + timedelta(seconds=1))
    approval.refresh_from_db()
    assert (approval.execution_error or "").endswith("Nothing was sent.")
    assert platform.requests == []


@pytest.mark.django_db
def test_what_waits_expires_when_the_clock_says_so_and_once(acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = submit(acme)
    sweep_at(-JUMP, monkeypatch)
    approval.refresh_from_db()
    assert approval.decision == "pending"
    for _ in range(2):
        sweep_at(JUMP, monkeypatch)
    sweep_at(-JUMP, monkeypatch)
    assert events(approval) == ["approval.requested", "approval.expired"]
    with pytest.raises(transitions.AlreadyDecided):
        approve(acme, ApprovalRequest.objects.get(pk=approval.pk), now=timezone.now() - JUMP)
