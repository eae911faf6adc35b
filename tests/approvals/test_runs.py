"""From approved to done: exactly the approved call, once, and only while every right still holds."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentStatus, Role
from approvals import runs
from approvals.binding import digest_of
from approvals.envelope import Answer
from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.outcomes import error_for_agent
from approvals.tasks import sweep
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform, Scope
from tests.approvals.test_decisions import approve
from tests.world import CountingPlatform, Side, change_platform, submit


def run(approval: ApprovalRequest) -> ApprovalRequest:
    execute(approval_id=approval.pk, now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk)


def events(approval: ApprovalRequest) -> list[str]:
    return list(AuditEvent.objects.filter(approval_id=approval.pk).order_by("seq").values_list("event", flat=True))


def test_an_approved_call_is_made_once_exactly_as_shown(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme, body='{"text":"hellö","n":1.50}', endpoint="/api/messages?a=%41"))
    done = run(approval)
    (sent,) = platform.requests
    assert (sent["method"], sent["path"], sent["body"]) == ("POST", "/api/messages?a=A", '{"text":"hellö","n":1.50}')
    assert sent["headers"]["Authorization"] == f"Bearer {platform.token}"
    assert sent["headers"]["Content-Type"] == "application/json"
    assert sent["headers"]["Idempotency-Key"] == str(approval.pk)
    assert done.result_status == 200
    result = json.loads(done.result_json or "")
    assert (result["status"], result["data"]["data"]) == (200, {"id": 7, "ok": True})
    assert done.execution_error is None
    assert events(done) == ["approval.requested", "approval.approved", "approval.sending", "approval.executed"]
    executed = AuditEvent.objects.get(event="approval.executed")
    assert executed.metadata["response_status"] == 200
    assert result["data"]["_meta"]["audit_id"] == str(executed.pk)


def test_a_message_that_comes_again_sends_nothing_again(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    outcomes = [run(approval).executed_at for _ in range(6)]
    assert len(platform.requests) == len(set(outcomes)) == 1


@pytest.mark.parametrize("state", ["pending", "denied", "expired"])
def test_what_is_not_approved_never_runs(acme: Side, platform: CountingPlatform, state: str) -> None:
    approval = submit(acme)
    if state != "pending":
        ApprovalRequest.objects.filter(pk=approval.pk).update(decision=state, decided_at=timezone.now())
    run(approval)
    assert platform.requests == []


def test_a_platforms_breakdown_is_a_result_and_filled_in_for_people_too(acme: Side) -> None:
    done = run(approve(acme, submit(acme, endpoint="/status/503")))
    assert json.loads(done.result_json or "") == {"status": 503, "data": {"status_was": 503}}
    assert (done.result_status, done.execution_error) == (503, "The platform answered 503.")


def test_a_refusal_of_the_platform_is_a_result_and_nothing_else(acme: Side) -> None:
    done = run(approve(acme, submit(acme, endpoint="/status/404")))
    assert (done.result_status, done.execution_error) == (404, None)


def test_a_platform_that_is_not_there_is_said_to_have_got_nothing(acme: Side, settings: Settings) -> None:
    change_platform(acme.platform, base_url="http://127.0.0.1:9")
    settings.PRIVATE_TARGETS = ["127.0.0.1"]
    done = run(approve(acme, submit(acme)))
    assert done.result_json is None
    assert done.execution_error is not None
    assert done.execution_error.endswith("Nothing was sent.")
    assert events(done)[-1] == "approval.failed"


@pytest.mark.parametrize("endpoint", ["/cut", "/slow/5"])
def test_an_answer_that_was_lost_is_an_unknown_outcome(acme: Side, settings: Settings, endpoint: str) -> None:
    settings.APPROVED_TIMEOUT = 0.3
    approval = approve(acme, submit(acme, endpoint=endpoint))
    done = run(approval)
    assert done.execution_error is not None
    assert done.execution_error.startswith("outcome unknown:")
    assert events(done)[-1] == "approval.outcome_unknown"
    assert run(approval).executed_at == done.executed_at


def test_a_private_target_is_refused_at_the_moment_of_the_call(
    acme: Side, platform: CountingPlatform, settings: Settings
) -> None:
    approval = approve(acme, submit(acme))
    settings.PRIVATE_TARGETS = []
    done = run(approval)
    assert done.execution_error is not None
    assert "Nothing was sent." in done.execution_error
    assert platform.requests == []


def _suspend(side: Side) -> None:
    Agent.objects.filter(pk=side.agent.pk).update(status=AgentStatus.SUSPENDED)


def _revoke(side: Side) -> None:
    Grant.objects.filter(agent=side.agent).update(revoked_at=timezone.now())


def _narrow(side: Side) -> None:
    Scope.objects.filter(name="chat:write").update(rules=["DELETE /api/messages/*"])


def _move(side: Side) -> None:
    Platform.objects.filter(pk=side.platform.pk).update(base_url=side.platform.base_url + "/v2")


def _put_elsewhere(side: Side) -> None:
    Platform.objects.filter(pk=side.platform.pk).update(auth={"type": "query", "name": "key"})


def _add_a_header(side: Side) -> None:
    auth = {"type": "bearer", "headers": {"X-Act-As": "ceo@acme.example"}}
    Platform.objects.filter(pk=side.platform.pk).update(auth=auth)


def _disconnect(side: Side) -> None:
    Connection.objects.filter(pk=side.connection.pk).delete()


def _replace(side: Side) -> None:
    Connection.objects.filter(pk=side.connection.pk).update(credential_version=2)


def _demote(side: Side) -> None:
    side.approver.role = Role.AUDITOR
    side.approver.save()


def _lock_out(side: Side) -> None:
    side.approver.user.is_active = False
    side.approver.user.save()


def _remove(side: Side) -> None:
    side.approver.delete()


LOSSES: list[tuple[Callable[[Side], None], str]] = [
    (_suspend, "agent_suspended"),
    (_revoke, "scope_not_granted"),
    (_narrow, "endpoint_scope_mismatch"),
    (_move, "platform_changed"),
    (_put_elsewhere, "platform_changed"),
    (_add_a_header, "platform_changed"),
    (_disconnect, "no_credential"),
    (_replace, "credential_changed"),
    (_demote, "decider_not_allowed"),
    (_lock_out, "decider_not_allowed"),
    (_remove, "decider_not_allowed"),
]


@pytest.mark.parametrize(("lose", "reason"), LOSSES, ids=[row[0].__name__.strip("_") for row in LOSSES])
def test_a_right_lost_after_the_decision_stops_the_call_and_says_so(
    acme: Side, platform: CountingPlatform, lose: Callable[[Side], None], reason: str
) -> None:
    approval = approve(acme, submit(acme))
    lose(acme)
    done = run(approval)
    assert done.execution_error is not None
    assert done.execution_error.endswith("Nothing was sent.")
    assert AuditEvent.objects.get(event="approval.failed").reason == reason
    assert platform.requests == []


def test_a_call_that_nobody_could_run_for_an_hour_is_not_run_late(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now() + timedelta(hours=1, seconds=1))
    assert AuditEvent.objects.get(event="approval.failed").reason == "too_late"
    assert platform.requests == []


EDITS: dict[str, Any] = {
    "form": lambda row: bytes(row.form).replace(b"hello", b"HELLO"),
    "digest": "1" * 64,
    "digest that is no ASCII": ("digest", "é" * 64),
    "seal": b"\0" * 32,
    "platform": "other",
    "scope": "chat:read",
    "connection_id": uuid4(),
    "connection_label": "Other",
    "agent_name": "somebody else",
    "request_id": uuid4(),
    "reason": "Asked for by the CEO",
    "requester_address": "203.0.113.9",
    "session_id": "sess_other",
    "disclosure": {"used": "x", "label": "y", "defaulted": True, "others": [], "hint": "h"},
    "decided_by": "auditor@acme.example",
    "decided_by_id": "999",
    "decided_via": "passkey",
    "deny_reason": "no",
    "step_up": "passkey",
    "evidence_digest": "0" * 64,
    "created_at": lambda row: row.created_at - timedelta(days=1),
    "expires_at": lambda row: row.expires_at + timedelta(days=1),
    "decided_at": lambda row: row.decided_at + timedelta(seconds=1),
}


def _other(row: ApprovalRequest) -> ApprovalRequest:
    row = ApprovalRequest.objects.get(pk=row.pk)
    row.pk = uuid4()
    row.save(force_insert=True)
    return row


# Columns that only fit together: the database refuses one of them alone.
EDITS_TOGETHER: dict[str, Any] = {
    "again_of": lambda row: {"again_of": _other(row), "again_by": "x"},
    "same_key_as": lambda row: {"again_of": _other(row), "again_by": "x", "same_key_as": uuid4()},
}


# What an edit of cannot make another call, or the same one again, and where it is shown or why it need not be.
NOT_COMPARED = {
    "id": "the row is found by it, and it is under the seal: test_a_seal_of_another_row_does_not_fit",
    "owner": "as the agent",
    "agent": "the column is held against the call: test_no_other_agent_or_owner_can_be_put_on_the_row",
    "again_by": "the database refuses it alone: EDITS_TOGETHER, tests/approvals/test_repeats.py",
    "decision": "test_a_decision_written_by_hand_is_refused, test_what_is_not_approved_never_runs",
    "execution_started_at": "test_a_row_set_back_to_not_begun_is_not_run_again",
    "executed_at": "an outcome: tests/approvals/test_outcomes_on_record.py",
    "result_status": "an outcome",
    "result_json": "an outcome",
    "execution_error": "an outcome",
    "outcome_unknown": "an outcome",
    "outcome_found": "a finding",
    "outcome_note": "a person's note for people",
    "outcome_checked_at": "when that note was made",
    "outcome_checked_by_id": "a finding",
    "outcome_checked_by": "a finding",
    "queue_version": "when the page draws the row anew",
}


def test_every_column_is_tried_or_said_why_not() -> None:
    tried = {edit[0] if isinstance(edit, tuple) else column for column, edit in EDITS.items()} | set(EDITS_TOGETHER)
    columns = {field.name for field in ApprovalRequest._meta.concrete_fields}
    assert tried | set(NOT_COMPARED) == columns
    assert not tried & set(NOT_COMPARED)


def test_no_other_agent_or_owner_can_be_put_on_the_row(acme: Side, stranger: Side, platform: CountingPlatform) -> None:
    for columns in ({"agent": stranger.agent}, {"owner": stranger.owner}):
        approval = approve(acme, submit(acme))
        ApprovalRequest.objects.filter(pk=approval.pk).update(**columns)
        assert (run(approval).execution_error or "").startswith("Refused: ")
    assert platform.requests == []


@pytest.mark.parametrize("columns", EDITS_TOGETHER)
def test_a_row_made_a_repeat_after_the_decision_is_refused_and_never_sent(
    acme: Side, platform: CountingPlatform, columns: str
) -> None:
    approval = approve(acme, submit(acme))
    ApprovalRequest.objects.filter(pk=approval.pk).update(**EDITS_TOGETHER[columns](approval))
    done = run(approval)
    assert done.execution_error == "Refused: the seal is not that of the decision. Nothing was sent."
    assert events(done)[-1] == "approval.tampered"
    assert platform.requests == []


@pytest.mark.parametrize("column", EDITS)
def test_a_row_edited_after_the_decision_is_refused_and_never_sent(
    acme: Side, platform: CountingPlatform, column: str
) -> None:
    approval = approve(acme, submit(acme))
    edit = EDITS[column]
    column, edit = edit if isinstance(edit, tuple) else (column, edit)
    value = edit(approval) if callable(edit) else edit
    ApprovalRequest.objects.filter(pk=approval.pk).update(**{column: value})
    done = run(approval)
    assert done.execution_error is not None
    assert done.execution_error.startswith("Refused: ")
    assert events(done)[-1] == "approval.tampered"
    assert platform.requests == []


def test_a_row_set_back_to_not_begun_is_not_run_again(acme: Side, platform: CountingPlatform) -> None:
    approval = run(approve(acme, submit(acme)))
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=None, executed_at=None, result_json=None, result_status=None
    )
    assert "begun before" in (run(approval).execution_error or "")
    assert len(platform.requests) == 1


HOSTILE_BODIES = ["NaN", "5", '["x"]', "[" * 100_000]


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=["NaN", "number", "list", "deep"])
def test_a_form_of_another_shape_is_refused_even_with_its_own_digest(
    acme: Side, platform: CountingPlatform, body: str
) -> None:
    approval = approve(acme, submit(acme))
    form = bytes(approval.form).replace(b'"body":"{\\"text\\":\\"hello\\"}"', f'"body":{body}'.encode())
    assert form != bytes(approval.form)
    ApprovalRequest.objects.filter(pk=approval.pk).update(form=form, digest=digest_of(form))
    assert (run(approval).execution_error or "").startswith("Refused: ")
    assert platform.requests == []


def test_a_decision_written_by_hand_is_refused(acme: Side, platform: CountingPlatform) -> None:
    approval = submit(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        decision="approved", decided_at=timezone.now(), decided_by="approver@acme.example", seal=b"x" * 32
    )
    assert "seal" in (run(approval).execution_error or "")
    assert platform.requests == []


def test_a_seal_of_another_row_does_not_fit(acme: Side, platform: CountingPlatform) -> None:
    other = approve(acme, submit(acme, body='{"text":"harmless"}'))
    approval = submit(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        decision="approved",
        decided_at=other.decided_at,
        decided_by=other.decided_by,
        decided_by_id=other.decided_by_id,
        decided_via=other.decided_via,
        seal=other.seal,
    )
    assert "seal" in (run(approval).execution_error or "")
    assert platform.requests == []


def test_a_worker_that_dies_after_its_claim_leaves_an_unknown_outcome(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    claim = runs.claim(approval_id=approval.pk, now=timezone.now())
    started = claim.approval.execution_started_at
    assert started is not None
    run(approval)  # redelivered: somebody else has it
    assert runs.give_up_lost(now=started + runs.lease() - timedelta(seconds=1)) == 0
    assert runs.give_up_lost(now=started + runs.lease()) == 1
    done = run(approval)
    assert (done.execution_error or "").startswith("outcome unknown:")
    assert platform.requests == []


@pytest.mark.parametrize(("status", "found"), [(200, "happened"), (302, ""), (409, ""), (503, "")])
def test_an_answer_that_comes_too_late_is_on_record_and_a_finding_if_it_says_that_it_happened(
    acme: Side, status: int, found: str
) -> None:
    approval = approve(acme, submit(acme))
    runs.claim(approval_id=approval.pk, now=timezone.now())
    runs.give_up_lost(now=timezone.now() + runs.lease())
    for _ in range(2):  # the second time because the first commit was not acknowledged
        runs.finish(approval_id=approval.pk, answer=Answer(status, "{}"), now=timezone.now())
    approval.refresh_from_db()
    assert (approval.execution_error or "").startswith("outcome unknown:")
    assert (approval.result_json, approval.outcome_found) == (None, found)
    assert ("came late: the call happened." in error_for_agent(approval)) is bool(found)
    assert AuditEvent.objects.get(event="approval.executed").metadata["late"] is True
    assert events(approval)[-1] == ("approval.outcome_checked" if found else "approval.executed")


def test_an_answer_that_is_written_down_twice_is_on_record_once(acme: Side) -> None:
    done = run(approve(acme, submit(acme)))
    runs.finish(approval_id=done.pk, answer=Answer(200, "{}"), now=timezone.now())
    again = ApprovalRequest.objects.get(pk=done.pk)
    assert (again.result_json, events(again)) == (done.result_json, events(done))
    assert events(done).count("approval.executed") == 1


def test_a_row_that_cannot_be_dealt_with_does_not_hold_up_the_sweep(
    acme: Side, stranger: Side, caplog: pytest.LogCaptureFixture
) -> None:
    for side in (acme, stranger):
        ApprovalRequest.objects.filter(pk=submit(side).pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with connection.cursor() as cursor:  # Acme's chain head claims a number that is taken: no row can be recorded
        cursor.execute("ALTER TABLE audit_chainhead DISABLE TRIGGER USER")
        cursor.execute("UPDATE audit_chainhead SET seq = 0 WHERE owner_id = %s", [acme.owner.pk])
    sweep()
    assert ApprovalRequest.objects.get(owner=acme.owner).decision == "pending"
    assert ApprovalRequest.objects.get(owner=stranger.owner).decision == "expired"
    assert "the next sweep tries again" in caplog.text


def test_the_sweep_expires_and_gives_up(acme: Side) -> None:
    waiting = submit(acme)
    ApprovalRequest.objects.filter(pk=waiting.pk).update(expires_at=timezone.now())
    begun = approve(acme, submit(acme, body="1"))
    runs.claim(approval_id=begun.pk, now=timezone.now() - runs.lease())
    sweep()
    waiting.refresh_from_db()
    begun.refresh_from_db()
    assert waiting.decision == "expired"
    assert (begun.execution_error or "").startswith("outcome unknown:")
