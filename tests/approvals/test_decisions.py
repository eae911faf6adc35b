"""From asked to decided: who may, what is bound, who won, what is on record."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from approvals import services, transitions
from approvals.models import ApprovalRequest, Decision, Queue
from approvals.transitions import AlreadyDecided, StaleDigest
from audit.models import AuditEvent
from notifications.models import Notification
from tests.world import CountingPlatform, Side, submit


def approve(side: Side, approval: ApprovalRequest, **change: Any) -> ApprovalRequest:
    values: dict[str, Any] = {
        "member": side.approver,
        "approval_id": approval.pk,
        "digest": approval.digest,
        "via": "dashboard",
        "now": timezone.now(),
    }
    return services.approve(**values | change)


def deny(side: Side, approval: ApprovalRequest, **change: Any) -> ApprovalRequest:
    values: dict[str, Any] = {
        "member": side.approver,
        "approval_id": approval.pk,
        "digest": approval.digest,
        "via": "dashboard",
        "now": timezone.now(),
    }
    return services.deny(**values | change)


def events(approval: ApprovalRequest) -> list[str]:
    return list(AuditEvent.objects.filter(approval_id=approval.pk).order_by("seq").values_list("event", flat=True))


def test_an_approval_is_sealed_and_on_record_with_its_digest(acme: Side) -> None:
    approval = approve(acme, submit(acme))
    assert approval.decision == Decision.APPROVED
    assert approval.decided_by == "approver@acme.example"
    row = AuditEvent.objects.get(event="approval.approved")
    assert row.approval_id == approval.pk
    assert row.metadata["digest"] == approval.digest
    assert row.actor_label == "approver@acme.example"


def test_a_denial_carries_its_reason_and_nothing_is_sent(acme: Side, platform: CountingPlatform) -> None:
    approval = deny(acme, submit(acme), reason="not on a Friday")
    assert (approval.decision, approval.deny_reason) == (Decision.DENIED, "not on a Friday")
    assert events(approval) == ["approval.requested", "approval.denied"]
    assert platform.requests == []


@pytest.mark.parametrize("first", [approve, deny])
@pytest.mark.parametrize("second", [approve, deny])
def test_the_first_decision_stands_and_the_second_learns_who_took_it(acme: Side, first: Any, second: Any) -> None:
    approval = submit(acme)
    decided = first(acme, approval)
    with pytest.raises(AlreadyDecided) as refused:
        second(acme, approval, member=acme.admin)
    assert refused.value.approval.decision == decided.decision
    assert refused.value.approval.decided_by == "approver@acme.example"
    assert len(events(approval)) == 2


@pytest.mark.parametrize("decide", [approve, deny])
def test_an_auditor_decides_nothing(acme: Side, decide: Any) -> None:
    approval = submit(acme)
    with pytest.raises(services.NotAllowed):
        decide(acme, approval, member=acme.auditor)
    approval.refresh_from_db()
    assert approval.decision == Decision.PENDING


@pytest.mark.parametrize("decide", [approve, deny])
def test_the_approval_of_another_owner_does_not_exist(acme: Side, stranger: Side, decide: Any) -> None:
    with pytest.raises(ApprovalRequest.DoesNotExist):
        decide(stranger, submit(acme))
    with pytest.raises(ApprovalRequest.DoesNotExist):
        decide(acme, submit(acme), approval_id=uuid4())


@pytest.mark.parametrize("decide", [approve, deny])
def test_a_decision_on_something_else_than_the_row_is_refused(acme: Side, decide: Any) -> None:
    approval = submit(acme)
    with pytest.raises(StaleDigest):
        decide(acme, approval, digest="0" * 64)
    assert events(approval) == ["approval.requested"]


COLUMNS = {
    "form": b'{"agent_id":"x"}',
    "digest": "1" * 64,
    "platform": "other",
    "scope": "chat:read",
    "connection_id": uuid4(),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_edited_while_it_waits_cannot_be_approved(acme: Side, column: str) -> None:
    approval = submit(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(**{column: COLUMNS[column]})
    current = ApprovalRequest.objects.get(pk=approval.pk)
    with pytest.raises(StaleDigest):
        approve(acme, approval, digest=current.digest)


def test_what_nobody_decides_expires_at_its_time_and_not_before(acme: Side) -> None:
    approval = submit(acme)
    assert transitions.expire_due(now=approval.expires_at - timedelta(microseconds=1)) == 0
    assert transitions.expire_due(now=approval.expires_at) == 1
    approval.refresh_from_db()
    assert (approval.decision, approval.decided_at) == (Decision.EXPIRED, approval.expires_at)
    assert events(approval) == ["approval.requested", "approval.expired"]
    assert transitions.expire_due(now=approval.expires_at) == 0


def test_a_click_after_the_time_expires_the_row_even_before_the_sweep(acme: Side) -> None:
    approval = submit(acme)
    with pytest.raises(AlreadyDecided) as refused:
        approve(acme, approval, now=approval.expires_at)
    assert refused.value.approval.decision == Decision.EXPIRED
    assert events(approval) == ["approval.requested", "approval.expired"]


def test_the_same_call_after_its_time_is_a_new_approval(acme: Side) -> None:
    old = submit(acme)
    ApprovalRequest.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    new = submit(acme)
    assert new.pk != old.pk
    old.refresh_from_db()
    assert old.decision == Decision.EXPIRED


def test_every_change_moves_the_queue_on(acme: Side, stranger: Side) -> None:
    first = submit(acme)
    version = Queue.objects.get(owner=acme.owner).version
    assert first.queue_version == version
    assert deny(acme, first).queue_version == version + 1
    assert not Queue.objects.filter(owner=stranger.owner).exists()


def test_the_inbox_line_goes_when_the_matter_is_settled(acme: Side) -> None:
    approval = submit(acme)
    line = Notification.objects.get()
    assert (line.title, line.body) == ("Approval required", "Acme bot → acme-chat/chat:write")
    assert line.withdrawn_at is None
    deny(acme, approval)
    line.refresh_from_db()
    assert line.withdrawn_at is not None


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a decision without a time": {"decision": "denied"},
    "approved without a seal": {"decision": "approved", "decided_at": timezone.now()},
    "an unknown decision": {"decision": "maybe", "decided_at": timezone.now()},
    "a pending row that runs": {"execution_started_at": timezone.now()},
    "an unknown outcome of what never ran": {"outcome_unknown": True},
    "a finding about a known outcome": {"outcome_found": "happened", "outcome_checked_at": timezone.now()},
    "a note about nothing": {"outcome_note": "x"},
    "a finder of nothing": {"outcome_checked_by": "x"},
    "a repeat of nothing": {"again_by": "x"},
    "a key of nothing": {"same_key_as": uuid4()},
    "an outcome without a result or error": {"executed_at": timezone.now()},
    "a result that was never begun": {
        "decision": "approved",
        "decided_at": timezone.now(),
        "seal": b"x",
        "executed_at": timezone.now(),
        "result_json": "{}",
    },
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_the_database_refuses_rows_that_make_no_sense(acme: Side, change: dict[str, Any]) -> None:
    approval = submit(acme)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApprovalRequest.objects.filter(pk=approval.pk).update(**change)
