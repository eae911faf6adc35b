"""Decisions that a passkey signs: this call, this decision, this once; on every surface where the scope demands it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from agents.passkey_models import Passkey, PasskeyChallenge
from approvals.binding import seal_of
from approvals.evidence import EvidenceRefused, PasskeyEvidence
from approvals.execution import execute
from approvals.models import ApprovalRequest, Decision
from audit.models import AuditEvent
from platforms.models import Scope
from tests.authenticator import EDDSA, ES256, RS256, Authenticator, Lies
from tests.pages.passkeys import FRAGMENT, Person, begin, decide, finish
from tests.pages.scene import Scene, signed_in
from tests.pages.test_passkeys import BAD_ASSERTIONS
from tests.world import CountingPlatform, Side, submit

DEMANDED = "This scope is decided on with a passkey only. Nothing was decided."
REFUSED = "This passkey could not be used. Nothing was done: try again."


@pytest.fixture
def person(scene: Scene) -> Person:
    person = Person(scene.admin)
    person.register()
    return person


def now_in_database(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)


def demand(word: str = "passkey") -> None:
    Scope.objects.update(step_up=word)


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
def test_a_signed_approval_is_kept_whole_and_runs(acme: Side, platform: CountingPlatform, algorithm: int) -> None:
    person = Person(acme.approver, Authenticator(algorithm=algorithm))
    person.register()
    approval = submit(acme)
    response = decide(person, approval)
    assert (response.status_code, response["X-Fragment"]) == (200, "card")
    row = now_in_database(approval)
    assert (row.decision, row.decided_by, row.decided_via) == ("approved", "approver@acme.example", "passkey")
    evidence = PasskeyEvidence.objects.get(pk=approval.pk)
    assert (evidence.rp_id, evidence.origin) == ("localhost", "http://localhost:8080")
    assert row.evidence_digest == evidence.digest()
    event = AuditEvent.objects.get(event="approval.approved")
    assert (event.metadata["via"], event.metadata["evidence"]) == ("passkey", row.evidence_digest)
    execute(approval_id=approval.pk, now=timezone.now())
    assert len(platform.requests) == 1
    assert now_in_database(approval).execution_error is None


def test_a_signed_denial_reaches_the_agent_with_its_reason(scene: Scene, person: Person) -> None:
    approval = scene.submit({"n": 1})
    options = begin(person, approval, "deny").json()
    response = finish(person, approval, person.device.get(options), "deny", reason="Not today")
    row = now_in_database(approval)
    assert (response.status_code, row.decision, row.deny_reason) == (200, Decision.DENIED, "Not today")
    assert PasskeyEvidence.objects.filter(pk=approval.pk).exists()


def test_the_device_is_asked_for_the_members_own_passkeys_with_verification(scene: Scene, person: Person) -> None:
    options = begin(person, scene.submit({"n": 1})).json()
    assert (options["userVerification"], options["rpId"], len(options["allowCredentials"])) == (
        "required",
        "localhost",
        1,
    )


def test_without_script_a_signed_decision_leads_back_to_the_queue(scene: Scene, person: Person) -> None:
    approval = scene.submit({"n": 1})
    credential = person.device.get(begin(person, approval).json())
    data = {"digest": approval.digest, "credential": credential}
    assert person.client.post(f"/approvals/{approval.pk}/approve", data).status_code == 303
    assert now_in_database(approval).decided_via == "passkey"


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_the_passkeys_button_without_script_decides_nothing(scene: Scene, person: Person, button: str) -> None:
    approval = scene.submit({"n": 1})
    assert f'data-passkey="get" data-options="/approvals/{approval.pk}/{button}/options"' in (
        person.client.get("/approvals").content.decode()
    )
    response = finish(person, approval, "", button)
    assert (response.status_code, "Passkeys need JavaScript" in response.content.decode()) == (400, True)
    assert now_in_database(approval).decision == Decision.PENDING


# --- Where the scope demands it


@pytest.mark.parametrize("button", ["approve", "deny"])
@pytest.mark.parametrize("since", ["before the call", "after the call", "then, not now"])
def test_where_a_passkey_is_demanded_no_plain_button_works(
    scene: Scene, person: Person, button: str, since: str
) -> None:
    demand("" if since == "after the call" else "passkey")
    approval = scene.submit({"n": 1})
    demand("" if since == "then, not now" else "passkey")
    page = person.client.get("/approvals").content.decode()
    assert "Approve with biometric" in page
    assert 'type="submit">Approve<' not in page
    assert page.count('data-passkey="get"') == 2
    response = person.client.post(f"/approvals/{approval.pk}/{button}", {"digest": approval.digest}, headers=FRAGMENT)
    assert (response.status_code, DEMANDED in response.content.decode()) == (403, True)
    plain = person.client.post(f"/approvals/{approval.pk}/{button}", {"digest": approval.digest})
    assert plain.status_code == 303
    assert DEMANDED in person.client.get(f"/approvals/{approval.pk}").content.decode()
    assert now_in_database(approval).decision == Decision.PENDING
    assert decide(person, approval, button).status_code in {200, 204}


def test_who_has_no_passkey_is_sent_to_register_one(scene: Scene) -> None:
    demand()
    approval = scene.submit({"n": 1})
    client = signed_in(scene.approver)
    page = client.get("/approvals").content.decode()
    assert "This scope is decided on with a passkey only." in page
    assert "data-decide" not in page
    response = client.post(f"/approvals/{approval.pk}/approve/options", {"digest": approval.digest})
    assert (response.status_code, response.content.decode()) == (
        400,
        "You have no passkey: register one under Settings.",
    )


def test_a_demand_that_comes_after_a_plain_approval_stops_the_call(acme: Side, platform: CountingPlatform) -> None:
    approval = submit(acme)
    signed_in(acme.approver).post(f"/approvals/{approval.pk}/approve", {"digest": approval.digest})
    demand()
    execute(approval_id=approval.pk, now=timezone.now())
    assert AuditEvent.objects.get(event="approval.failed").reason == "step_up_required"
    assert platform.requests == []


# --- Signatures that do not fit


BAD = {name: lies for name, lies in BAD_ASSERTIONS.items() if not lies.no_user_handle}  # they are known already


@pytest.mark.parametrize("lies", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("button", ["approve", "deny"])
def test_a_bad_assertion_decides_nothing(scene: Scene, person: Person, button: str, lies: Lies) -> None:
    decide(person, scene.submit({"n": 0}))
    approval = scene.submit({"n": 1})
    response = decide(person, approval, button, lies)
    assert response.status_code == 400
    assert now_in_database(approval).decision == Decision.PENDING
    assert not PasskeyEvidence.objects.filter(pk=approval.pk).exists()


def test_what_was_signed_for_one_call_is_nothing_for_another(scene: Scene, person: Person) -> None:
    first, second = scene.submit({"n": 1}), scene.submit({"n": 2})
    credential = person.device.get(begin(person, first).json())
    assert finish(person, second, credential).status_code == 400
    assert finish(person, first, credential).status_code == 400  # and used up
    assert {now_in_database(row).decision for row in (first, second)} == {Decision.PENDING}


@pytest.mark.parametrize(("signed", "sent"), [("approve", "deny"), ("deny", "approve")])
def test_one_decision_signed_is_not_the_other(scene: Scene, person: Person, signed: str, sent: str) -> None:
    approval = scene.submit({"n": 1})
    response = finish(person, approval, person.device.get(begin(person, approval, signed).json()), sent)
    assert (response.status_code, REFUSED in response.content.decode()) == (400, True)
    assert now_in_database(approval).decision == Decision.PENDING


EDITS: dict[str, Callable[[ApprovalRequest], Any]] = {
    "form": lambda row: bytes(row.form).replace(b'\\"n\\": 1', b'\\"n\\": 2'),
    "digest": lambda row: "1" * 64,
    "scope": lambda row: "chat:read",
    "expires_at": lambda row: row.expires_at + timedelta(hours=1),
}


@pytest.mark.parametrize("column", EDITS)
def test_a_row_edited_after_the_options_is_not_decided(scene: Scene, person: Person, column: str) -> None:
    approval = scene.submit({"n": 1})
    credential = person.device.get(begin(person, approval).json())
    ApprovalRequest.objects.filter(pk=approval.pk).update(**{column: EDITS[column](approval)})
    assert finish(person, approval, credential).status_code in {400, 409}
    assert now_in_database(approval).decision == Decision.PENDING


def test_a_signature_counts_once_and_for_two_minutes(scene: Scene, person: Person) -> None:
    first, second = scene.submit({"n": 1}), scene.submit({"n": 2})
    credential = person.device.get(begin(person, first).json())
    assert finish(person, first, credential).status_code == 200
    assert finish(person, first, credential).status_code == 400
    late = person.device.get(begin(person, second).json())
    PasskeyChallenge.objects.update(expires_at=timezone.now())
    assert finish(person, second, late).status_code == 400
    assert now_in_database(second).decision == Decision.PENDING


def test_each_member_signs_with_the_own_passkey(scene: Scene, person: Person) -> None:
    other = Person(scene.approver)
    other.register()
    approval = scene.submit({"n": 1})
    assert finish(person, approval, other.device.get(begin(person, approval).json())).status_code == 400
    assert finish(other, approval, person.device.get(begin(person, approval).json())).status_code == 400
    assert now_in_database(approval).decision == Decision.PENDING


def test_a_passkey_deleted_in_between_signs_nothing(scene: Scene, person: Person) -> None:
    approval = scene.submit({"n": 1})
    credential = person.device.get(begin(person, approval).json())
    Passkey.objects.all().delete()
    assert finish(person, approval, credential).status_code == 400


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_somebody_elses_call_an_auditor_and_a_get_get_no_options(scene: Scene, person: Person, button: str) -> None:
    approval = scene.submit({"n": 1})
    path = f"/approvals/{approval.pk}/{button}/options"
    data = {"digest": approval.digest}
    assert person.client.get(path).status_code == 405
    assert signed_in(scene.auditor).post(path, data).status_code == 403
    assert signed_in(scene.admin, enforce_csrf_checks=True).post(path, data).status_code == 403
    assert person.client.post(path, {"digest": "0" * 64}).status_code == 409
    assert Client().post(path, data).status_code == 302
    assert PasskeyChallenge.objects.count() == 0


def test_a_stranger_gets_no_options(scene: Scene, stranger: Client) -> None:
    approval = scene.submit({"n": 1})
    assert stranger.post(f"/approvals/{approval.pk}/approve/options", {"digest": approval.digest}).status_code == 404


def test_who_comes_second_with_a_passkey_is_told_who_was_first(scene: Scene, person: Person) -> None:
    approval = scene.submit({"n": 1})
    credential = person.device.get(begin(person, approval).json())
    scene.approve(approval, member=scene.approver)
    response = finish(person, approval, credential)
    assert response.status_code == 409
    assert "Already approved by approver@acme.example at" in response.content.decode()
    options = begin(person, approval)
    assert (options.status_code, options.content.decode()[:16]) == (409, "Already approved")


# --- What is stored


def _edit_evidence(approval: ApprovalRequest, sql: str, *values: Any) -> None:
    """As the owner of the tables, who can switch triggers off."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE approvals_passkeyevidence DISABLE TRIGGER append_only_rows")
        cursor.execute(sql + " WHERE approval_id = %s", [*values, approval.pk])
        cursor.execute("ALTER TABLE approvals_passkeyevidence ENABLE ALWAYS TRIGGER append_only_rows")


@pytest.fixture
def approved(acme: Side) -> ApprovalRequest:
    person = Person(acme.approver)
    person.register()
    approval = submit(acme)
    assert decide(person, approval).status_code == 200
    return now_in_database(approval)


@pytest.mark.parametrize(
    "sql", ["UPDATE approvals_passkeyevidence SET origin = 'x'", "DELETE FROM approvals_passkeyevidence"]
)
def test_nobody_changes_what_was_signed(approved: ApprovalRequest, sql: str) -> None:
    with pytest.raises(DatabaseError, match="kept as it is"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    with pytest.raises(EvidenceRefused):
        PasskeyEvidence.objects.get().delete()


COLUMNS = ["form", "credential_id", "public_key", "client_data_json", "authenticator_data", "signature"]


@pytest.mark.parametrize("column", COLUMNS)
def test_no_bit_of_what_was_signed_can_be_turned_over_before_the_call(
    approved: ApprovalRequest, platform: CountingPlatform, column: str
) -> None:
    raw = bytearray(getattr(PasskeyEvidence.objects.get(), column))
    raw[len(raw) // 2] ^= 1
    _edit_evidence(approved, f"UPDATE approvals_passkeyevidence SET {column} = %s", bytes(raw))
    execute(approval_id=approved.pk, now=timezone.now())
    error = now_in_database(approved).execution_error
    assert error == "Refused: what the passkey signed was changed. Nothing was sent."
    assert platform.requests == []


@pytest.mark.parametrize("column", [column for column in COLUMNS if column != "credential_id"])
def test_who_holds_the_seals_key_and_not_the_passkey_makes_no_decision(
    approved: ApprovalRequest, platform: CountingPlatform, column: str
) -> None:
    raw = bytearray(getattr(PasskeyEvidence.objects.get(), column))
    raw[-1] ^= 1
    _edit_evidence(approved, f"UPDATE approvals_passkeyevidence SET {column} = %s", bytes(raw))
    approved.evidence_digest = PasskeyEvidence.objects.get().digest()
    approved.seal = seal_of(approved)
    approved.save(update_fields=["evidence_digest", "seal"])
    execute(approval_id=approved.pk, now=timezone.now())
    error = now_in_database(approved).execution_error
    assert error is not None
    assert error.startswith("Refused: what the passkey signed does not hold (assertion: ")
    assert platform.requests == []


@pytest.mark.parametrize(
    "edit",
    [{"evidence_digest": ""}, {"evidence_digest": "0" * 64}, {"step_up": "passkey"}, {"decided_via": "dashboard"}],
)
def test_the_row_keeps_to_what_was_signed(
    approved: ApprovalRequest, platform: CountingPlatform, edit: dict[str, str]
) -> None:
    ApprovalRequest.objects.filter(pk=approved.pk).update(**edit)
    execute(approval_id=approved.pk, now=timezone.now())
    assert (now_in_database(approved).execution_error or "").startswith("Refused: ")
    assert platform.requests == []


def test_evidence_that_is_gone_is_missed(approved: ApprovalRequest, platform: CountingPlatform) -> None:
    _edit_evidence(approved, "DELETE FROM approvals_passkeyevidence")
    execute(approval_id=approved.pk, now=timezone.now())
    assert "what the passkey signed is missing" in (now_in_database(approved).execution_error or "")
    assert platform.requests == []


def test_a_passkey_deleted_after_the_decision_stops_the_call(
    approved: ApprovalRequest, platform: CountingPlatform
) -> None:
    Passkey.objects.all().delete()
    execute(approval_id=approved.pk, now=timezone.now())
    assert AuditEvent.objects.get(event="approval.failed").reason == "passkey_deleted"
    assert platform.requests == []
