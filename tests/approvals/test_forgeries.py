"""Who can write to the database, and holds the seal's key too, still makes no decision of a passkey's owner."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection
from django.utils import timezone

from agents.models import Member
from agents.passkey_models import Passkey
from approvals.binding import seal_of
from approvals.evidence import PasskeyEvidence
from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from tests.pages.passkeys import Person, decide
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
