"""After an unknown outcome: what a person found is on record once, and sending again is a new decision, never a retry."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus
from approvals import runs, services
from approvals.binding import read_form
from approvals.endings import earlier_calls
from approvals.envelope import Answer
from approvals.models import ApprovalRequest, Finding
from approvals.outcomes import AlreadyChecked, NothingToCheck
from approvals.repeats import CannotRepeat
from approvals.transitions import RowTampered
from audit.models import AuditEvent
from platforms.models import Connection, Grant, Platform, Scope
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_runs import events, run
from tests.world import CountingPlatform, Side, bearer, submit


def lost(side: Side, waiting: ApprovalRequest | None = None, **change: Any) -> ApprovalRequest:
    """An approved call whose worker died after its claim."""
    approval = approve(side, waiting or submit(side, **change))
    runs.claim(approval_id=approval.pk, now=timezone.now())
    runs.lose(approval_id=approval.pk, error=runs.OUTCOME_UNKNOWN, reason="worker_lost", now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk)


def not_sent(side: Side, approval: ApprovalRequest | None = None) -> ApprovalRequest:
    approval = approve(side, approval or submit(side))
    runs.fail(approval_id=approval.pk, error="Refused. Nothing was sent.", reason="test", now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk)


def again(side: Side, approval: ApprovalRequest, **change: Any) -> tuple[ApprovalRequest, bool]:
    values: dict[str, Any] = {
        "member": side.approver,
        "approval_id": approval.pk,
        "requester_address": "192.0.2.9",
        "request_id": uuid4(),
        "now": timezone.now(),
    }
    return services.send_again(**values | change)


def check(side: Side, approval: ApprovalRequest, found: Finding = Finding.NOT_HAPPENED, **change: Any) -> Any:
    values: dict[str, Any] = {"member": side.approver, "approval_id": approval.pk, "found": found, "note": "looked"}
    return services.check_outcome(**values | {"now": timezone.now()} | change)


# --- Check outcome


@pytest.mark.parametrize("found", Finding)
def test_what_a_person_found_is_on_the_row_and_on_record(acme: Side, found: Finding) -> None:
    approval = check(acme, lost(acme), found, note="x" * 600)
    approval.refresh_from_db()
    assert (approval.outcome_found, approval.outcome_note) == (found, "x" * 500)
    assert (approval.outcome_checked_by, approval.outcome_checked_by_id) == (
        "approver@acme.example",
        str(acme.approver.pk),
    )
    row = AuditEvent.objects.get(event="approval.outcome_checked")
    assert (row.metadata["found"], row.reason, row.actor_label) == (found, "x" * 500, "approver@acme.example")
    assert events(approval)[-2:] == ["approval.outcome_unknown", "approval.outcome_checked"]


def test_the_first_finding_stands(acme: Side) -> None:
    approval = lost(acme)
    check(acme, approval)
    with pytest.raises(AlreadyChecked) as refused:
        check(acme, approval, Finding.HAPPENED, member=acme.admin)
    assert refused.value.approval.outcome_checked_by == "approver@acme.example"
    assert events(approval).count("approval.outcome_checked") == 1


def test_only_an_unknown_outcome_is_checked(acme: Side) -> None:
    for approval in (submit(acme), not_sent(acme), run(approve(acme, submit(acme, body="1")))):
        with pytest.raises(NothingToCheck):
            check(acme, approval)


def test_neither_an_auditor_nor_a_stranger_checks_or_sends_again(acme: Side, stranger: Side) -> None:
    approval = lost(acme)
    for verb in (check, again):
        with pytest.raises(services.NotAllowed):
            verb(acme, approval, member=acme.auditor)
        with pytest.raises(ApprovalRequest.DoesNotExist):
            verb(stranger, approval)
    assert ApprovalRequest.objects.count() == 1


def test_the_agent_is_told_in_the_field_that_it_knows(client: Client, acme: Side) -> None:
    approval = lost(acme)
    check(acme, approval, Finding.HAPPENED, note="not for agents")
    poll = client.get(f"/v1/approvals/{approval.pk}", headers=bearer(acme.agent)).json()
    listed = client.get("/v1/agents/me/pending-actions", headers=bearer(acme.agent)).json()
    assert set(poll) == {"approval_id", "status", "created_at", "expires_at", "executed_at", "execution_error"}
    assert poll["execution_error"].startswith("outcome unknown:")
    assert poll["execution_error"].endswith("A person has looked on the platform since: the call happened.")
    assert listed["recently_completed"][0]["execution_error"] == poll["execution_error"]
    assert "not for agents" not in json.dumps([poll, listed])


# --- Send again


def test_sending_again_is_a_new_card_for_the_same_call(acme: Side, platform: CountingPlatform) -> None:
    first = lost(acme, reason="the release")
    second, is_new = again(acme, first)
    assert is_new
    assert second.pk != first.pk
    assert bytes(second.form) == bytes(first.form)
    assert (second.decision, second.again_of_id, second.again_by) == ("pending", first.pk, "approver@acme.example")
    assert (second.reason, second.agent_id, second.requester_address) == ("the release", acme.agent.pk, "192.0.2.9")
    assert second.expires_at - second.created_at == timedelta(seconds=600)
    row = AuditEvent.objects.get(approval_id=second.pk)
    assert (row.event, row.actor_label, row.agent_id) == ("approval.requested", "approver@acme.example", acme.agent.pk)
    assert row.metadata["again_of"] == str(first.pk)
    assert platform.requests == []  # nobody has decided


def test_a_repeat_runs_once_under_its_own_key(acme: Side, platform: CountingPlatform) -> None:
    second, _ = again(acme, lost(acme))
    done = run(approve(acme, second))
    assert run(done).result_status == 200
    (sent,) = platform.requests
    assert sent["headers"]["Idempotency-Key"] == str(second.pk)


def test_a_platform_that_honours_keys_gets_the_first_one_for_ever(acme: Side, platform: CountingPlatform) -> None:
    Platform.objects.update(honours_idempotency_key=True)
    first = lost(acme)
    second, _ = again(acme, first)
    runs.claim(approval_id=approve(acme, second).pk, now=timezone.now())
    runs.lose(approval_id=second.pk, error=runs.OUTCOME_UNKNOWN, reason="worker_lost", now=timezone.now())
    third, _ = again(acme, second)
    assert third.again_of_id == second.pk
    run(approve(acme, third))
    assert [sent["headers"]["Idempotency-Key"] for sent in platform.requests] == [str(first.pk)]


def test_a_call_that_was_not_sent_has_a_key_of_its_own_everywhere(acme: Side) -> None:
    Platform.objects.update(honours_idempotency_key=True)
    assert again(acme, not_sent(acme))[0].same_key_as is None


def test_under_another_credential_the_first_key_means_nothing(acme: Side) -> None:
    Platform.objects.update(honours_idempotency_key=True)
    first = lost(acme)
    Connection.objects.update(credential_version=2)
    second, _ = again(acme, first)
    assert second.same_key_as is None
    assert read_form(bytes(second.form)).credential_version == 2


def test_a_platform_that_stops_honouring_keys_stops_the_repeat(acme: Side, platform: CountingPlatform) -> None:
    Platform.objects.update(honours_idempotency_key=True)
    second = approve(acme, again(acme, lost(acme))[0])
    Platform.objects.update(honours_idempotency_key=False)
    assert (run(second).execution_error or "").endswith("Nothing was sent.")
    assert platform.requests == []


def test_while_one_waits_there_is_no_second(acme: Side) -> None:
    first = lost(acme)
    second, _ = again(acme, first)
    assert again(acme, first, member=acme.admin) == (second, False)
    assert ApprovalRequest.objects.count() == 2


def test_where_the_agent_has_asked_by_itself_that_card_is_shown(acme: Side) -> None:
    first = lost(acme)
    asked = submit(acme)
    with pytest.raises(CannotRepeat) as refused:
        again(acme, first)
    assert refused.value.instead == asked


def test_what_the_agent_has_done_again_by_itself_is_not_sent_again(acme: Side, platform: CountingPlatform) -> None:
    first = lost(acme)
    own = run(approve(acme, submit(acme)))
    with pytest.raises(CannotRepeat) as refused:
        again(acme, first)
    assert refused.value.instead == own
    assert len(platform.requests) == 1


@pytest.mark.parametrize("late", [True, False], ids=["by its late answer", "by a person"])
def test_a_repeat_of_what_is_found_to_have_happened_is_not_sent(
    acme: Side, platform: CountingPlatform, late: bool
) -> None:
    first = lost(acme)
    second, _ = again(acme, first)
    if late:
        runs.finish(approval_id=first.pk, answer=Answer(200, "{}"), now=timezone.now())
    else:
        check(acme, first, Finding.HAPPENED)
    card = earlier_calls([second])[second.pk]
    assert "an earlier call that happened" in card.sentence
    assert card.warns
    done = run(approve(acme, second))
    assert (done.execution_error or "").endswith("was found to have happened. Nothing was sent.")
    assert platform.requests == []


def test_nor_is_a_repeat_of_its_repeat(acme: Side, platform: CountingPlatform) -> None:
    first = lost(acme)
    second = lost(acme, again(acme, first)[0])
    third, _ = again(acme, second)
    check(acme, first, Finding.HAPPENED)
    assert "an earlier call that happened" in earlier_calls([third])[third.pk].sentence
    with pytest.raises(CannotRepeat, match="found to have happened"):
        again(acme, second)
    done = run(approve(acme, third))
    assert (done.execution_error or "").endswith("was found to have happened. Nothing was sent.")
    assert platform.requests == []


@pytest.mark.parametrize("end", ["denied", "expired", "not sent"])
def test_a_repeat_that_came_to_nothing_can_be_asked_for_again(acme: Side, end: str) -> None:
    first = lost(acme)
    second, _ = again(acme, first)
    if end == "denied":
        deny(acme, second)
    elif end == "not sent":
        not_sent(acme, second)
    now = timezone.now() + timedelta(seconds=601 if end == "expired" else 0)
    third, is_new = again(acme, second if end == "not sent" else first, now=now)
    assert is_new
    assert third.again_of_id == first.pk  # the one that may have happened, not the one that was never sent


def test_of_two_repeats_one_is_sent(acme: Side, platform: CountingPlatform) -> None:
    """A clock that is put back brings a card to life again that was too late when the second was made."""
    first = lost(acme)
    second, _ = again(acme, first)
    Scope.objects.filter(name="chat:write").update(rules=["POST /**"])  # it is no twin of the second: other rules
    third, is_new = again(acme, first, now=timezone.now() + timedelta(seconds=601))
    assert is_new
    sent, refused = run(approve(acme, third)), run(approve(acme, second))
    assert sent.result_status == 200
    assert (refused.execution_error or "").endswith("was sent again already. Nothing was sent.")
    assert [request["headers"]["Idempotency-Key"] for request in platform.requests] == [str(third.pk)]


def test_a_repeat_that_was_denied_by_a_fast_clock_hides_none_that_was_sent(acme: Side) -> None:
    first = lost(acme)
    denied, _ = again(acme, first, now=timezone.now() + timedelta(hours=1))
    services.deny(
        member=acme.approver, approval_id=denied.pk, digest=denied.digest, via="dashboard", now=denied.created_at
    )
    sent = run(approve(acme, again(acme, first)[0]))
    with pytest.raises(CannotRepeat) as refused:
        again(acme, first)
    assert refused.value.instead == sent


def _answered(side: Side) -> ApprovalRequest:
    return run(approve(side, submit(side)))


def _breaks_down(side: Side) -> ApprovalRequest:
    return run(approve(side, submit(side, endpoint="/status/503")))


def _pending(side: Side) -> ApprovalRequest:
    return submit(side)


def _denied(side: Side) -> ApprovalRequest:
    return deny(side, submit(side))


def _running(side: Side) -> ApprovalRequest:
    return approve(side, submit(side))


def _happened(side: Side) -> ApprovalRequest:
    return check(side, lost(side), Finding.HAPPENED)  # type: ignore[no-any-return]


def _sent_again(side: Side) -> ApprovalRequest:
    first = lost(side)
    run(approve(side, again(side, first)[0]))
    return first


def _being_sent_again(side: Side) -> ApprovalRequest:
    first = lost(side)
    approve(side, again(side, first)[0])
    return first


@pytest.mark.parametrize(
    "make", [_answered, _breaks_down, _pending, _denied, _running, _happened, _sent_again, _being_sent_again]
)
def test_what_cannot_be_sent_again(acme: Side, make: Callable[[Side], ApprovalRequest]) -> None:
    approval = make(acme)
    before = ApprovalRequest.objects.count()
    with pytest.raises(CannotRepeat):
        again(acme, approval)
    assert ApprovalRequest.objects.count() == before


RIGHTS: dict[str, Callable[[Side], Any]] = {
    "agent suspended": lambda side: Agent.objects.update(status=AgentStatus.SUSPENDED),
    "agent revoked": lambda side: Agent.objects.update(status=AgentStatus.REVOKED),
    "grant revoked": lambda side: Grant.objects.update(revoked_at=timezone.now()),
    "scope narrowed": lambda side: Scope.objects.update(rules=["DELETE /x"]),
    "platform suspended": lambda side: Platform.objects.update(suspended_at=timezone.now()),
    "platform moved": lambda side: Platform.objects.update(base_url="https://elsewhere.example"),
    "disconnected": lambda side: Connection.objects.all().delete(),
    "row edited": lambda side: ApprovalRequest.objects.update(connection_label="Other"),
    "key edited": lambda side: ApprovalRequest.objects.update(decided_by="nobody"),
}


@pytest.mark.parametrize("lose", RIGHTS.values(), ids=RIGHTS.keys())
def test_a_call_that_its_agent_may_not_make_any_more_is_not_put_before_anybody(
    acme: Side, lose: Callable[[Side], Any]
) -> None:
    first = lost(acme)
    lose(acme)
    with pytest.raises(CannotRepeat):
        again(acme, first)
    assert ApprovalRequest.objects.count() == 1


def test_the_agent_finds_the_repeat_among_what_waits(client: Client, acme: Side) -> None:
    second, _ = again(acme, lost(acme))
    listed = client.get("/v1/agents/me/pending-actions", headers=bearer(acme.agent)).json()
    assert [item["approval_id"] for item in listed["pending"]] == [str(second.pk)]


BEFORE_THE_DECISION: dict[str, Callable[[ApprovalRequest], dict[str, Any]]] = {
    "another call": lambda first: {"again_of": not_sent_twin(first)},
    "somebody else": lambda first: {"again_by": "admin@acme.example"},
    "a key of its own": lambda first: {"same_key_as": None},
    "no repeat at all": lambda first: {"again_of": None, "again_by": "", "same_key_as": None},
}


def not_sent_twin(first: ApprovalRequest) -> ApprovalRequest:
    first.pk = uuid4()
    first.save(force_insert=True)
    return first


@pytest.mark.parametrize("edit", BEFORE_THE_DECISION.values(), ids=BEFORE_THE_DECISION.keys())
def test_a_repeat_edited_before_the_decision_is_refused_too(
    acme: Side, platform: CountingPlatform, edit: Callable[[ApprovalRequest], dict[str, Any]]
) -> None:
    Platform.objects.update(honours_idempotency_key=True)
    first = lost(acme)
    second, _ = again(acme, first)
    ApprovalRequest.objects.filter(pk=second.pk).update(**edit(first))
    with pytest.raises(RowTampered):
        approve(acme, second)
    assert events(second)[-1] == "approval.tampered"
    assert platform.requests == []


def test_a_call_of_an_agent_does_not_become_a_repeat(acme: Side, platform: CountingPlatform) -> None:
    """It would go out under a key that the platform has seen, and come to nothing."""
    first = lost(acme, body="1")
    second = submit(acme)
    ApprovalRequest.objects.filter(pk=second.pk).update(again_of=first, again_by="x", same_key_as=first.pk)
    with pytest.raises(RowTampered):
        approve(acme, second)
    assert events(second)[-1] == "approval.tampered"
    assert platform.requests == []
