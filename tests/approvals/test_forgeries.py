"""Who can write to the database, and holds the seal's key too, still makes no decision of a passkey's owner."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection
from django.utils import timezone

from agents.models import Agent, Member
from agents.passkey_models import Passkey
from approvals.binding import seal_of
from approvals.evidence import PasskeyEvidence
from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.models import Grant, Scope
from tests.pages.passkeys import Person, decide
from tests.pages.scene import signed_in
from tests.world import CountingPlatform, Side, submit


@pytest.fixture
def approved(acme: Side) -> ApprovalRequest:
    """Approved by the approver, signed with the approver's passkey."""
    person = Person(acme.approver)
    person.register()
    approval = submit(acme)
    assert decide(person, approval).status_code == 200
    return ApprovalRequest.objects.get(pk=approval.pk)


def run(approval: ApprovalRequest) -> str:
    execute(approval_id=approval.pk, now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk).execution_error or ""


def replace_evidence(approval: ApprovalRequest, **columns: Any) -> None:
    """As the owner of the tables, who can switch triggers off, and with the seal's key."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE approvals_passkeyevidence DISABLE TRIGGER append_only_rows")
        for name, value in columns.items():
            cursor.execute(
                f"UPDATE approvals_passkeyevidence SET {name} = %s WHERE approval_id = %s", [value, approval.pk]
            )
        cursor.execute("ALTER TABLE approvals_passkeyevidence ENABLE ALWAYS TRIGGER append_only_rows")
    reseal(approval)


def reseal(approval: ApprovalRequest) -> None:
    approval.evidence_digest = PasskeyEvidence.objects.get(pk=approval.pk).digest()
    approval.seal = seal_of(approval)
    approval.save()


def test_a_whole_forgery_with_a_fresh_key_is_refused(approved: ApprovalRequest, platform: CountingPlatform) -> None:
    """Everything in it fits together; only the key is not the one that was registered."""
    evidence, key = PasskeyEvidence.objects.get(), ec.generate_private_key(ec.SECP256R1())
    signed = bytes(evidence.authenticator_data) + hashlib.sha256(bytes(evidence.client_data_json)).digest()
    replace_evidence(
        approved,
        public_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        signature=key.sign(signed, ec.ECDSA(hashes.SHA256())),
    )
    assert "another key than the registered one" in run(approved)
    assert AuditEvent.objects.filter(event="approval.tampered").count() == 1
    assert platform.requests == []


def test_a_decision_signed_by_one_member_is_not_another_members(
    acme: Side, approved: ApprovalRequest, platform: CountingPlatform
) -> None:
    approved.decided_by_id, approved.decided_by = str(acme.admin.pk), acme.admin.user.email
    reseal(approved)
    assert run(approved).startswith("Refused: ")
    assert platform.requests == []


def test_a_passkey_that_was_moved_to_somebody_else_approves_nothing(
    acme: Side, approved: ApprovalRequest, platform: CountingPlatform
) -> None:
    Passkey.objects.update(user=acme.admin.user)
    assert "not that of the person who decided" in run(approved)
    assert platform.requests == []


def test_who_is_no_member_any_more_is_said_to_have_lost_the_right(
    approved: ApprovalRequest, platform: CountingPlatform
) -> None:
    Member.objects.filter(pk=approved.decided_by_id).delete()
    run(approved)
    assert AuditEvent.objects.get(event="approval.failed").reason == "decider_not_allowed"
    assert platform.requests == []


# --- Before anybody has decided


EDITS: dict[str, Callable[[ApprovalRequest], Any]] = {
    "step_up": lambda _: "",
    "expires_at": lambda row: row.expires_at + timedelta(days=30),
    "created_at": lambda row: row.created_at + timedelta(minutes=1),
    "connection_label": lambda _: "Sandbox",
    "agent_name": lambda _: "somebody else",
    "reason": lambda _: "The owner asked for it.",
    "requester_address": lambda _: "192.0.2.99",
    "request_id": lambda _: uuid4(),
}


def demand(word: str) -> None:
    Scope.objects.update(step_up=word)


def approve_plainly(side: Side, approval: ApprovalRequest) -> Any:
    path, headers = f"/approvals/{approval.pk}/approve", {"X-Fragment": "1"}
    return signed_in(side.approver).post(path, {"digest": approval.digest}, headers=headers)


@pytest.mark.parametrize("column", EDITS)
def test_a_row_edited_before_the_decision_is_not_decided_on(acme: Side, column: str) -> None:
    demand("passkey" if column == "step_up" else "")
    approval = submit(acme, reason="To say hello.")
    demand("")
    ApprovalRequest.objects.filter(pk=approval.pk).update(**{column: EDITS[column](approval)})
    response = approve_plainly(acme, approval)
    assert (response.status_code, "behind the server" in response.content.decode()) == (409, True)
    (event,) = AuditEvent.objects.filter(event="approval.tampered")
    assert (event.approval_id, event.actor_label, event.result) == (approval.pk, acme.approver.user.email, "denied")
    assert ApprovalRequest.objects.get(pk=approval.pk).decision == "pending"


def test_a_parent_renamed_behind_the_card_is_noticed(acme: Side) -> None:
    soon = timezone.now() + timedelta(hours=1)
    child = Agent.objects.create(owner=acme.owner, name="child", status="active", parent=acme.agent, expires_at=soon)
    parent, scope = acme.grants["chat:write"], acme.grants["chat:write"].scope
    Grant.objects.create(agent=child, scope=scope, require_approval=True, parent=parent)
    approval = submit(acme, agent=child)
    Agent.objects.filter(pk=acme.agent.pk).update(name="payroll")
    assert approve_plainly(acme, approval).status_code == 409
    Agent.objects.filter(pk=acme.agent.pk).update(name=acme.agent.name)
    assert approve_plainly(acme, approval).status_code == 200


def test_a_row_that_says_another_reason_after_the_decision_is_not_sent(
    approved: ApprovalRequest, platform: CountingPlatform
) -> None:
    ApprovalRequest.objects.filter(pk=approved.pk).update(reason="The owner asked for it.")
    assert "the seal is not that of the decision" in run(approved)
    assert platform.requests == []


def test_a_decision_that_is_not_on_record_is_not_sent(acme: Side, platform: CountingPlatform) -> None:
    """Made by hand by somebody who holds the seal's key."""
    approval = submit(acme)
    approval.decision, approval.decided_at, approval.decided_via = "approved", timezone.now(), "dashboard"
    approval.decided_by_id, approval.decided_by = str(acme.approver.pk), acme.approver.user.email
    approval.seal = seal_of(approval)
    approval.save()
    assert "does not say that it was approved" in run(approval)
    assert platform.requests == []


def test_the_free_words_of_an_agent_are_not_in_the_log(acme: Side) -> None:
    submit(acme, reason="My secret plan.")
    event = AuditEvent.objects.get(event="approval.requested")
    assert "secret plan" not in event.canonical
    assert (event.metadata["step_up"], event.metadata["connection_label"]) == ("", "Main")


def test_evidence_that_was_put_there_beforehand_is_said_to_be_tampering(acme: Side, approved: ApprovalRequest) -> None:
    person = Person(acme.admin)
    person.register()
    approval = submit(acme, body="2")
    planted = PasskeyEvidence.objects.get()
    planted.pk = approval.pk
    planted.save(force_insert=True)
    response = decide(person, approval)
    assert (response.status_code, "behind the server" in response.content.decode()) == (409, True)
    assert AuditEvent.objects.filter(event="approval.tampered", approval_id=approval.pk).exists()
