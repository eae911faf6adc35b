"""What came of a call is believed only while it is what the audit log says: a row set back or edited is found out."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus
from approvals.models import ApprovalRequest, Finding
from approvals.repeats import CannotRepeat
from audit.models import AuditEvent
from tests.approvals.test_decisions import approve
from tests.approvals.test_repeats import again, check, lost
from tests.approvals.test_runs import events, run
from tests.world import CountingPlatform, Side, bearer, submit


def edit(approval: ApprovalRequest, **columns: Any) -> ApprovalRequest:
    ApprovalRequest.objects.filter(pk=approval.pk).update(**columns)
    return ApprovalRequest.objects.get(pk=approval.pk)


def test_a_refused_row_set_back_to_approved_is_not_sent(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.SUSPENDED)
    run(approval)
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.ACTIVE)
    done = run(edit(approval, executed_at=None, execution_error=None))
    assert "the audit log says that this call ended before" in (done.execution_error or "")
    assert events(done)[-2:] == ["approval.failed", "approval.tampered"]
    assert platform.requests == []


def test_a_row_found_tampered_and_mended_is_not_sent(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    run(edit(approval, agent_name="somebody else"))
    done = run(edit(approval, agent_name=approval.agent_name, executed_at=None, execution_error=None))
    assert events(done)[-2:] == ["approval.tampered", "approval.tampered"]
    assert platform.requests == []


def answered(side: Side) -> ApprovalRequest:
    return run(approve(side, submit(side)))


def found_to_have_happened(side: Side) -> ApprovalRequest:
    return check(side, lost(side), Finding.HAPPENED)  # type: ignore[no-any-return]


NO_FINDING = {
    "outcome_found": "",
    "outcome_note": "",
    "outcome_checked_at": None,
    "outcome_checked_by_id": "",
    "outcome_checked_by": "",
}
EDITS: dict[str, tuple[Callable[[Side], ApprovalRequest], dict[str, Any]]] = {
    "another answer": (answered, {"result_json": '{"status":200,"data":{"paid_to":"mallory"}}'}),
    "another status": (answered, {"result_status": 404}),
    "no answer": (
        answered,
        {"result_json": None, "result_status": None, "execution_error": "No connection. Nothing was sent."},
    ),
    "another time": (answered, {"executed_at": timezone.now()}),
    "not unknown": (lost, {"outcome_unknown": False}),
    "another error": (lost, {"execution_error": "No connection. Nothing was sent."}),
    "a finding": (
        lost,
        {"outcome_found": "not_happened", "outcome_checked_at": timezone.now(), "outcome_checked_by": "x"},
    ),
    "another finding": (found_to_have_happened, {"outcome_found": "not_happened"}),
    "another finder": (found_to_have_happened, {"outcome_checked_by": "admin@acme.example"}),
    "another note": (found_to_have_happened, {"outcome_note": "I have looked: it went to the right account."}),
    "another time of the finding": (found_to_have_happened, {"outcome_checked_at": timezone.now()}),
    "a finding of no person": (found_to_have_happened, {"outcome_checked_by_id": ""}),
    "no finding": (found_to_have_happened, NO_FINDING),
    "not ended": (lambda side: approve(side, submit(side)), {"executed_at": timezone.now(), "execution_error": "x"}),
}


@pytest.mark.parametrize(("make", "columns"), EDITS.values(), ids=EDITS.keys())
def test_an_outcome_that_is_not_the_one_on_record_reaches_nobody_as_the_truth(
    client: Client, acme: Side, make: Callable[[Side], ApprovalRequest], columns: dict[str, Any]
) -> None:
    approval = make(acme)
    url = f"/v1/approvals/{approval.pk}"
    client.force_login(acme.admin.user)
    assert "behind the server" not in client.get(f"/approvals/{approval.pk}").content.decode()
    assert "not the one on record" not in client.get(url, headers=bearer(acme.agent)).content.decode()
    edit(approval, **columns)
    poll = client.get(url, headers=bearer(acme.agent)).json()
    assert "result" not in poll
    assert poll["execution_error"].startswith("The stored outcome of this call is not the one on record")
    page = client.get(f"/approvals/{approval.pk}").content.decode()
    assert "This row was changed behind the server’s back" in page
    assert f"/approvals/{approval.pk}/send-again" not in page
    with pytest.raises(CannotRepeat, match=r"changed|not sent"):
        again(acme, approval)


@pytest.mark.parametrize("make", [answered, lost, found_to_have_happened])
def test_a_poll_asks_the_database_no_more_than_before(
    client: Client, acme: Side, make: Callable[[Side], ApprovalRequest], django_assert_num_queries: Any
) -> None:
    approval, waiting = make(acme), submit(acme, body="1")
    client.get(f"/v1/approvals/{waiting.pk}", headers=bearer(acme.agent))
    counts = []
    for row in (approval, waiting):
        with django_assert_num_queries(2, exact=False) as captured:
            client.get(f"/v1/approvals/{row.pk}", headers=bearer(acme.agent))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_the_digest_of_the_outcome_is_on_record(acme: Side) -> None:
    answered(acme)
    assert len(AuditEvent.objects.get(event="approval.executed").metadata["outcome_digest"]) == 64
