"""Receipts: for an agent and for people, and checked offline; whatever is changed in one is found, and named."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings as project
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agentvalet.startup import StartRefused, check_settings
from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.receipt_keys import published, signed
from approvals.verify_receipt import check_assertion, check_receipt, decode, encode, read_object
from audit.models import AuditEvent
from tests.authenticator import EDDSA, ES256, RS256, Authenticator
from tests.pages.passkeys import Person, decide
from tests.pages.scene import signed_in
from tests.world import Side, bearer, submit

Receipt = dict[str, Any]


def fetch(side: Side, audit_id: object, **claims: Any) -> Any:
    return Client().get(f"/v1/audit/{audit_id}/receipt", headers=bearer(side.agent, **claims))


def keys() -> str:
    return json.dumps(Client().get("/.well-known/agentvalet-receipt-keys.json").json())


def run(approval: ApprovalRequest) -> AuditEvent:
    execute(approval_id=approval.pk, now=timezone.now())
    return AuditEvent.objects.get(approval_id=approval.pk, event="approval.executed")


def claims_of(receipt: Receipt) -> dict[str, Any]:
    return read_object(decode(receipt["receipt"].split(".")[1]))


def failed(receipt: Receipt, keys_text: str) -> list[str]:
    return [name for name, problem in check_receipt(json.dumps(receipt), keys_text) if problem]


def resigned(receipt: Receipt, claims: dict[str, Any]) -> Receipt:
    """As a server would sign it that has lost its mind."""
    return receipt | {"receipt": signed(claims)[1]}


@pytest.fixture(params=[ES256, EDDSA, RS256], ids=["ES256", "EdDSA", "RS256"])
def algorithm(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def signed_approval(side: Side, algorithm: int = ES256) -> ApprovalRequest:
    person = Person(side.approver, Authenticator(algorithm=algorithm))
    person.register()
    approval = submit(side)
    assert decide(person, approval).status_code == 200
    approval.refresh_from_db()
    return approval


def test_an_agent_gets_the_receipt_of_its_approved_call(acme: Side) -> None:
    approval = signed_approval(acme)
    event = run(approval)
    response = fetch(acme, event.pk)
    assert response.status_code == 200
    receipt = response.json()
    assert receipt.keys() == {"audit_id", "kid", "jwks_url", "receipt", "did"}
    assert receipt["audit_id"] == str(event.pk)
    assert receipt["jwks_url"] == "http://localhost:8080/.well-known/agentvalet-receipt-keys.json"
    assert receipt["did"] == "did:web:localhost%3A8080"
    header = read_object(decode(receipt["receipt"].split(".")[0]))
    assert header == {"alg": "ES256", "typ": "agentvalet-receipt+jwt", "kid": receipt["kid"]}
    claims = claims_of(receipt)
    assert (claims["iss"], claims["sub"], claims["jti"]) == ("http://localhost:8080", acme.agent.pk, str(event.pk))
    av = claims["av"]
    assert (av["platform"], av["scope"], av["method"], av["endpoint"]) == (
        "acme-chat",
        "chat:write",
        "POST",
        "/api/messages",
    )
    assert (av["result"], av["response_status"], av["trace_id"]) == ("allowed", 200, str(approval.request_id))
    assert av["decision"].keys() == {"reason", "policy_id", "policy_version", "matched"}
    assert (av["approval"]["approver_id"], av["approval"]["decided_via"]) == (str(acme.approver.pk), "passkey")
    assert "approver@acme.example" not in json.dumps(claims)
    assert failed(receipt, keys()) == []


def test_a_direct_call_has_a_receipt_of_its_own(acme: Side) -> None:
    body = {"platform": "acme-chat", "scope": "chat:read", "method": "GET", "endpoint": "/api/messages"}
    answer = Client().post("/v1/actions", body, content_type="application/json", headers=bearer(acme.agent))
    assert answer.status_code == 200, answer.content
    event = AuditEvent.objects.get(event="action.allowed")
    receipt = fetch(acme, event.pk).json()
    assert claims_of(receipt)["av"]["endpoint"] == "/api/messages"
    assert failed(receipt, keys()) == []


def test_an_agent_gets_no_receipt_of_anything_else(acme: Side, stranger: Side) -> None:
    event = run(signed_approval(acme))
    assert fetch(stranger, event.pk).status_code == 404
    assert fetch(acme, uuid4()).status_code == 404
    assert fetch(acme, AuditEvent.objects.get(event="passkey.registered").pk).status_code == 404
    assert fetch(acme, AuditEvent.objects.get(event="approval.sending").pk).status_code == 404
    assert Client().get(f"/v1/audit/{event.pk}/receipt").status_code == 401


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_a_member_downloads_the_receipt_of_a_decided_call(acme: Side, stranger: Side, button: str) -> None:
    approval, client = submit(acme), signed_in(acme.approver)
    path = f"/approvals/{approval.pk}/receipt.json"
    assert client.get(path).status_code == 404
    assert "signed receipt" not in client.get(f"/approvals/{approval.pk}").content.decode()
    client.post(f"/approvals/{approval.pk}/{button}", {"digest": approval.digest, "reason": "no"})
    assert path in client.get(f"/approvals/{approval.pk}").content.decode()
    response = client.get(path)
    assert response["Content-Disposition"] == f'attachment; filename="receipt-{approval.pk}.json"'
    receipt = response.json()
    said = claims_of(receipt)["av"]["approval"]
    assert (said["approver"], said["decided_via"], said["assertion"]) == ("approver@acme.example", "dashboard", None)
    assert claims_of(receipt)["av"]["result"] == ("allowed" if button == "approve" else "denied")
    assert failed(receipt, keys()) == []
    assert signed_in(stranger.admin).get(path).status_code == 404
    assert signed_in(acme.auditor).get(path).status_code == 200


def test_nothing_false_is_signed(acme: Side) -> None:
    approval = signed_approval(acme)
    event = run(approval)
    ApprovalRequest.objects.filter(pk=approval.pk).update(decided_by_id="999")
    assert fetch(acme, event.pk).status_code == 409
    assert signed_in(acme.admin).get(f"/approvals/{approval.pk}/receipt.json").status_code == 409


def test_the_public_keys_are_public_and_earlier_ones_stay(acme: Side, settings: Settings, tmp_path: Path) -> None:
    receipt = fetch(acme, run(signed_approval(acme)).pk).json()
    (key,) = json.loads(keys())["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["kid"]) == ("EC", "P-256", "ES256", receipt["kid"])
    assert "d" not in key
    fresh = b64encode(bytes(range(32))).decode()
    settings.RECEIPT_KEY = f"{fresh},{settings.RECEIPT_KEY}"
    both = published()["keys"]
    assert [key["kid"] for key in both][1] == receipt["kid"]
    assert failed(receipt, json.dumps({"keys": both})) == []
    settings.RECEIPT_KEY = fresh
    assert failed(receipt, keys()) == ["server's signature"]
    retired = tmp_path / "retired.json"
    retired.write_text(json.dumps({"keys": both}))  # today's among them, as the address has it
    settings.RETIRED_RECEIPT_KEYS = str(retired)
    assert json.loads(keys())["keys"] == both
    assert failed(receipt, keys()) == []


OLD = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
JWK = {"kty": "EC", "crv": "P-256", "x": encode(OLD.x.to_bytes(32, "big")), "y": encode(OLD.y.to_bytes(32, "big"))}
NO_KEYS: dict[str, tuple[object, str]] = {
    "not there": (None, "cannot be read"),
    "no set": (JWK, "is no JWK set"),
    "an empty set": ({"keys": []}, "is no JWK set"),
    "a private key": ({"keys": [JWK | {"d": encode((7).to_bytes(32, "big"))}]}, "holds a private key"),
    "a secret": ({"keys": [{"kty": "oct", "k": "AAAA"}]}, "not an EC key on P-256"),
    "no point": ({"keys": [JWK | {"y": JWK["x"]}]}, "no point on P-256"),
    "half a key": ({"keys": [JWK | {"y": None}]}, "no point on P-256"),
    "under another name": ({"keys": [JWK | {"kid": "mine"}]}, "not its thumbprint"),
}


@pytest.mark.parametrize("case", NO_KEYS)
def test_a_file_of_earlier_keys_that_is_none_stops_the_start(case: str, settings: Settings, tmp_path: Path) -> None:
    content, sentence = NO_KEYS[case]
    if content is not None:
        (tmp_path / "retired.json").write_text(json.dumps(content))
    settings.RETIRED_RECEIPT_KEYS = str(tmp_path / "retired.json")
    with pytest.raises(StartRefused, match=f"AGENTVALET_RETIRED_RECEIPT_KEYS names .*{sentence}"):
        check_settings()


# --- Offline


def verify_offline(folder: Path, receipt: str, keys_text: str | None) -> tuple[int, str]:
    """As somebody with nothing of ours but the one file."""
    (folder / "verify.py").write_text((Path(project.BASE_DIR) / "approvals" / "verify_receipt.py").read_text())
    (folder / "receipt.json").write_text(receipt)
    command = [sys.executable, "-I", "verify.py", "receipt.json"]
    if keys_text is not None:
        (folder / "keys.json").write_text(keys_text)
        command += ["--keys", "keys.json"]
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_receipt_is_checked_without_us(acme: Side, tmp_path: Path, algorithm: int) -> None:
    receipt = json.dumps(fetch(acme, run(signed_approval(acme, algorithm)).pk).json())
    code, said = verify_offline(tmp_path, receipt, keys())
    assert (code, said.splitlines()[-1]) == (0, "The receipt is valid."), said
    for check in (
        "server's signature",
        "call: digest",
        "assertion: challenge",
        "assertion: user verified",
        "assertion: signature",
    ):
        assert f"ok      {check}" in said
    code, said = verify_offline(tmp_path, receipt, None)
    assert (code, "give the keys that you trust" in said) == (2, True)


def test_the_module_runs_without_django_or_database(tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text("{}")
    (tmp_path / "keys.json").write_text('{"keys":[]}')
    script = "import sys, approvals.verify_receipt as v; v.main(sys.argv[1:]); print([m for m in sys.modules if m.split('.')[0] in ('django', 'psycopg', 'webauthn')])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "receipt.json"), "--keys", str(tmp_path / "keys.json")],
        cwd=project.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "NOT VALID: file" in done.stdout


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "null", "{}", '{"receipt":1}', '{"receipt":"a.b.c"}', '{"receipt":"e30.e30.e30"}', "[" * 100_000],
)
def test_what_is_no_receipt_is_not_valid(text: str) -> None:
    assert [name for name, problem in check_receipt(text, '{"keys":[]}') if problem]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path


def _changed(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else [1] if isinstance(value, list) else f"{value}x"


def test_every_changed_field_is_found(acme: Side) -> None:
    receipt = fetch(acme, run(signed_approval(acme)).pk).json()
    text, public = receipt["receipt"], keys()
    head, _, signature = text.split(".")
    for name in receipt:
        assert failed(receipt | {name: receipt[name] + "x"}, public), name
        assert failed({key: value for key, value in receipt.items() if key != name}, public), name
    assert failed(receipt | {"extra": 1}, public) == ["file"]
    claims = claims_of(receipt)
    paths = list(_leaves(claims))
    assert len(paths) > 30
    for path in paths:
        changed = json.loads(json.dumps(claims))
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = _changed(place[path[-1]])
        body = encode(json.dumps(changed).encode())
        assert "server's signature" in failed(receipt | {"receipt": f"{head}.{body}.{signature}"}, public), path
    for index in range(0, len(text), 41):
        other = "A" if text[index] != "A" else "B"
        assert failed(receipt | {"receipt": text[:index] + other + text[index + 1 :]}, public), index


def test_every_turned_bit_of_an_assertion_is_found_and_named(acme: Side, algorithm: int) -> None:
    claims = claims_of(fetch(acme, run(signed_approval(acme, algorithm)).pk).json())
    approval, av = claims["av"]["approval"], claims["av"]
    names = ("approver_id", "approval_id", "digest", "decision", "expires_at")
    decided = {name: approval[name] for name in names}
    decided |= {"scope": av["scope"], "policy_version": av["decision"]["policy_version"]}
    assertion = approval["assertion"]
    assert not [name for name, problem in check_assertion(assertion, decided=decided) if problem]
    for part in ("client_data_json", "authenticator_data", "signature"):
        raw = decode(assertion[part])
        for bit in range(len(raw) * 8):
            turned = bytearray(raw)
            turned[bit // 8] ^= 1 << bit % 8
            checks = check_assertion(assertion | {part: encode(bytes(turned))}, decided=decided)
            assert "assertion: signature" in [name for name, problem in checks if problem], (part, bit)
    for name in decided:
        checks = check_assertion(assertion, decided=decided | {name: "another"})
        assert [check for check, problem in checks if problem] == ["assertion: form of the decision"], name


NAMED: list[tuple[str, Any, str]] = [
    ("form", lambda text: text.replace('"approved"', '"denied"'), "assertion: form of the decision"),
    ("form", lambda text: text.replace('"approved"', '"denied"'), "assertion: challenge"),
    ("form", lambda text: " " + text, "assertion: form of the decision"),
    ("rp_id", lambda _: "evil.example", "assertion: relying party"),
    ("origin", lambda _: "https://evil.example", "assertion: origin"),
    ("public_key", lambda text: text[:-4] + "AAAA", "assertion: signature"),
    ("credential_id", lambda _: "A=", "assertion: fields"),
]


@pytest.mark.parametrize(("field", "change", "check"), NAMED)
def test_a_servers_lie_about_a_passkey_is_found_in_what_it_has_signed_itself(
    acme: Side, field: str, change: Any, check: str
) -> None:
    receipt = fetch(acme, run(signed_approval(acme)).pk).json()
    claims = claims_of(receipt)
    assertion = claims["av"]["approval"]["assertion"]
    assertion[field] = change(assertion.get(field))
    assert check in failed(resigned(receipt, claims), keys())


LIES = [
    (("av", "approval", "form"), "call: digest"),
    (("av", "approval", "digest"), "call: digest"),
    (("av", "scope"), "call: digest"),
    (("sub",), "call: digest"),
    (("av", "decision", "policy_version"), "call: digest"),
    (("av", "approval", "decision"), "assertion: form of the decision"),
    (("av", "approval", "approval_id"), "assertion: form of the decision"),
    (("av", "approval", "expires_at"), "assertion: form of the decision"),
    (("av", "approval", "decided_via"), "assertion"),
]


@pytest.mark.parametrize(("path", "check"), LIES, ids=[".".join(path) for path, _ in LIES])
def test_a_servers_lie_about_the_call_is_found_too(acme: Side, path: tuple[str, ...], check: str) -> None:
    receipt = fetch(acme, run(signed_approval(acme)).pk).json()
    claims = claims_of(receipt)
    place = claims
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] += "x"
    assert check in failed(resigned(receipt, claims), keys())
