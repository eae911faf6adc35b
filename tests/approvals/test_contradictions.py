"""Receipts that do not agree with themselves: the server signs none, and the verifier believes none, signed or not."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from approvals.evidence import PasskeyEvidence
from approvals.models import ApprovalRequest
from approvals.receipt_keys import signed
from approvals.transitions import expire_due
from approvals.verify_receipt import main
from audit.models import AuditEvent
from platforms.models import Grant
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_receipts import claims_of, failed, fetch, keys, resigned, run, signed_approval
from tests.pages.scene import signed_in
from tests.world import CountingPlatform, Side, submit


def download(side: Side, approval: ApprovalRequest) -> Any:
    return signed_in(side.admin).get(f"/approvals/{approval.pk}/receipt.json")


# --- What the server signs

EDITS: dict[str, dict[str, Any]] = {
    "set to expired": {"decision": "expired", "seal": None},
    "set to denied": {"decision": "denied"},
    "set to pending": {"decision": "pending", "decided_at": None, "seal": None},
    "decided by another": {"decided_by_id": "999"},
    "asked for with another reason": {"reason": "The owner asked for it."},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_no_receipt_is_signed_for_an_edited_row(acme: Side, edit: dict[str, Any]) -> None:
    approval = approve(acme, submit(acme))
    event = AuditEvent.objects.get(event="approval.approved")
    assert fetch(acme, event.pk).status_code == 200
    ApprovalRequest.objects.filter(pk=approval.pk).update(**edit)
    assert (fetch(acme, event.pk).status_code, download(acme, approval).status_code) == (409, 409)


def test_an_expired_row_names_nobody_who_decided(acme: Side) -> None:
    approval = submit(acme)
    expire_due(now=approval.expires_at)
    receipt = download(acme, approval).json()
    said = claims_of(receipt)["av"]["approval"]
    assert failed(receipt, keys()) == []
    ApprovalRequest.objects.update(decided_by_id="1", decided_by="approver@acme.example", decided_via="dashboard")
    assert claims_of(download(acme, approval).json())["av"]["approval"] == said
    assert (said["approver_id"], said["approver"], said["decided_via"]) == (None, None, None)
    ApprovalRequest.objects.update(expires_at=approval.expires_at + timedelta(days=1))
    assert download(acme, approval).status_code == 409


@pytest.mark.parametrize("column", ["reason", "result", "canonical", "hash"])
def test_a_row_of_the_log_that_was_edited_gets_no_receipt(acme: Side, column: str) -> None:
    approve(acme, submit(acme))
    event = AuditEvent.objects.get(event="approval.approved")
    value: Any = {"hash": b"\0" * 32, "canonical": event.canonical.replace("dashboard", "telephone")}.get(column, "x")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute(f"UPDATE audit_auditevent SET {column} = %s WHERE id = %s", [value, event.pk])
    assert fetch(acme, event.pk).status_code == 409


def test_after_tampering_was_found_no_receipt_says_approved(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    event = AuditEvent.objects.get(event="approval.approved")
    ApprovalRequest.objects.filter(pk=approval.pk).update(agent_name="x")
    with pytest.raises(AuditEvent.DoesNotExist):
        run(approval)
    ApprovalRequest.objects.filter(pk=approval.pk).update(agent_name=approval.agent_name)
    assert fetch(acme, event.pk).status_code == 409
    receipt = download(acme, approval).json()
    av = claims_of(receipt)["av"]
    assert (av["event"], av["result"], failed(receipt, keys())) == ("approval.tampered", "denied", [])


def test_a_call_refused_at_the_last_check_was_not_allowed(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    Grant.objects.update(revoked_at=timezone.now())
    with pytest.raises(AuditEvent.DoesNotExist):
        run(approval)
    receipt = download(acme, approval).json()
    av = claims_of(receipt)["av"]
    assert (av["event"], av["result"], av["decision"]["reason"]) == ("approval.failed", "denied", "scope_not_granted")
    assert (platform.requests, failed(receipt, keys())) == ([], [])


def test_an_agents_copy_gives_away_neither_the_passkeys_name_nor_how_much_others_do(acme: Side) -> None:
    approval = signed_approval(acme)
    ours = claims_of(fetch(acme, run(approval).pk).json())["av"]
    theirs = claims_of(download(acme, approval).json())["av"]
    assert "credential_id" not in ours["approval"]["assertion"]
    assert "seq" not in ours["record"]
    assert "credential_id" in theirs["approval"]["assertion"]
    assert theirs["record"]["seq"] > 0


def test_a_receipt_leads_to_the_registration(acme: Side, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    approval = signed_approval(acme)
    registered, decided = (AuditEvent.objects.get(event=name) for name in ("passkey.registered", "approval.approved"))
    assert decided.metadata["passkey_id"] == registered.metadata["passkey_id"]
    (tmp_path / "receipt.json").write_bytes(download(acme, approval).content)
    (tmp_path / "keys.json").write_text(keys())
    assert main([str(tmp_path / "receipt.json"), "--keys", str(tmp_path / "keys.json")]) == 0
    said = capsys.readouterr().out
    assert registered.metadata["spki_sha256"] in said
    for part in (
        "http://localhost:8080",
        "approval.approved",
        "approver@acme.example",
        "POST /api/messages",
        "passkey",
    ):
        assert part in said


# --- What the verifier believes


def _put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(claims: dict[str, Any]) -> None:
        place = claims
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _without_approval(claims: dict[str, Any]) -> None:
    del claims["av"]["approval"]


def _plain(claims: dict[str, Any]) -> None:
    claims["av"]["approval"] |= {"step_up": "passkey", "decided_via": "dashboard", "assertion": None}


def _denied(claims: dict[str, Any]) -> None:
    claims["av"] |= {"event": "approval.denied", "result": "denied"}


def _late(claims: dict[str, Any]) -> None:
    approval = claims["av"]["approval"]
    approval["decided_at"] = (datetime.fromisoformat(approval["expires_at"]) + timedelta(seconds=1)).isoformat()


CONTRADICTIONS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a passkey is demanded and there is none": (_plain, "decision: step-up"),
    "made, and nobody was asked": (_without_approval, "event, decision and result"),
    "denied with an approving signature": (_denied, "event, decision and result"),
    "denied and allowed": (_put("av", "event", value="approval.denied"), "event, decision and result"),
    "made, and still waiting": (_put("av", "approval", "decision", value="pending"), "event, decision and result"),
    "an unknown event": (_put("av", "event", value="approval.blessed"), "event, decision and result"),
    "decided too late": (_late, "decision: its time"),
    "nobody decided": (_put("av", "approval", "approver_id", value=""), "decision: its time"),
    "another approver": (_put("av", "approval", "approver_id", value="1"), "assertion: form of the decision"),
    "an unknown claim": (_put("exp", value=1), "fields"),
    "an unknown field of the call": (_put("av", "note", value="x"), "fields"),
    "an unknown field of the approval": (_put("av", "approval", "witness", value="x"), "fields"),
    "an unknown field of the record": (_put("av", "record", "x", value="x"), "fields"),
    "another issuer": (_put("iss", value="https://evil.example"), "assertion: issuer's site"),
    "an unknown demand": (_put("av", "approval", "step_up", value="blood"), "decision: step-up"),
}


@pytest.mark.parametrize(("change", "check"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_receipt_that_contradicts_itself_is_not_valid(
    acme: Side, change: Callable[[dict[str, Any]], None], check: str
) -> None:
    receipt = fetch(acme, run(signed_approval(acme)).pk).json()
    claims = claims_of(receipt)
    change(claims)
    assert check in failed(resigned(receipt, claims), keys())


def test_honest_receipts_of_every_kind_are_valid(acme: Side, platform: CountingPlatform) -> None:
    denied, unknown = deny(acme, submit(acme)), approve(acme, submit(acme, endpoint="/cut"))
    for approval in (denied, unknown):
        assert failed(download(acme, approval).json(), keys()) == []
    assert PasskeyEvidence.objects.count() == 0


def check_file(folder: Path, receipt: bytes, *arguments: str, keys_name: str = "keys.json") -> int:
    (folder / "receipt.json").write_bytes(receipt)
    (folder / keys_name).write_text(keys())
    return main([str(folder / "receipt.json"), *arguments])


def test_the_keys_are_never_taken_silently(
    acme: Side, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Any
) -> None:
    content = download(acme, approve(acme, submit(acme))).content
    beside = "agentvalet-receipt-keys.json"
    with pytest.raises(SystemExit):
        check_file(tmp_path, content, keys_name=beside)
    kid = json.loads(content)["kid"]
    assert check_file(tmp_path, content, "--thumbprint", kid, keys_name=beside) == 0
    assert check_file(tmp_path, content, "--thumbprint", kid[::-1], keys_name=beside) == 1
    assert signed({})[0] == kid
    capsys.readouterr()


def test_a_file_that_is_no_text_ends_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_file(tmp_path, b"\xff\xfe", "--keys", str(tmp_path / "keys.json")) == 1
    assert "cannot be read" in capsys.readouterr().out
    assert main([str(tmp_path / "nothing"), "--keys", str(tmp_path / "keys.json")]) == 1
