"""Checks a receipt without the server that wrote it: `python -m approvals.verify_receipt FILE --keys FILE`.

Everything is in this file; beyond Python it needs `cryptography` alone. docs/receipts.md says what a
receipt holds. The server itself uses `check_assertion` before it makes a call that a passkey has approved.
"""

import argparse
import hashlib
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

TYPE = "agentvalet-receipt+jwt"
KEYS_PATH = "/.well-known/agentvalet-receipt-keys.json"
FORM_TYPE, FORM_VERSION = "agentvalet.decision", 2
USER_PRESENT, USER_VERIFIED = 0x01, 0x04

Check = tuple[str, str]  # its name, and what is wrong; "" for nothing


class Wrong(Exception):
    """A check failed; the text says how."""


def canonical(value: object) -> bytes:
    """JSON in ASCII, keys sorted, no white space: the one spelling that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: Any) -> bytes:
    """Base64url without padding, in its one spelling."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (TypeError, ValueError) as error:
        raise Wrong("it is not base64url") from error
    if encode(data) != text:
        raise Wrong("it is not base64url in its one spelling")
    return data


def read_object(data: bytes | str) -> dict[str, Any]:
    try:
        value = json.loads(data, object_pairs_hook=_without_twice)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Wrong("it is no JSON object")
    return value


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def ensure(holds: bool, sentence: str) -> None:
    if not holds:
        raise Wrong(sentence)


# --- The assertion of a passkey


def check_assertion(assertion: Mapping[str, Any], *, decided: Mapping[str, str]) -> list[Check]:
    """Whether the passkey in `assertion` signed the decision that `decided` describes, after verifying the person.

    `decided` has approver_id, approval_id, digest, decision, scope, expires_at and policy_version.
    """

    def form() -> None:
        text = assertion["form"]
        said = read_object(text)
        ensure(canonical(said) == text.encode(), "it is not in canonical form")
        expected = {"type": FORM_TYPE, "version": FORM_VERSION, "nonce": said.get("nonce"), **decided}
        ensure(isinstance(said.get("nonce"), str) and len(said["nonce"]) == 64, "it has no nonce")
        ensure(said.keys() == expected.keys(), "it has other fields than it should have")
        for name, value in expected.items():
            ensure(said[name] == value and type(said[name]) is type(value), f"its {name} is not that of the decision")

    def client_data() -> dict[str, Any]:
        return read_object(decode(assertion["client_data_json"]))

    def challenge() -> None:
        expected = encode(hashlib.sha256(assertion["form"].encode()).digest())
        ensure(client_data().get("challenge") == expected, "what was signed is not the form")

    def ceremony() -> None:
        said = client_data()
        ensure(said.get("type") == "webauthn.get", "it is not an assertion")
        ensure(said.get("crossOrigin", False) is False and "topOrigin" not in said, "it was made in a frame")

    def origin() -> None:
        ensure(client_data().get("origin") == assertion["origin"], "it was made on another site")
        host = urlsplit(assertion["origin"]).hostname
        ensure(host == assertion["rp_id"], "the site is not the relying party's")

    def data() -> bytes:
        raw = decode(assertion["authenticator_data"])
        ensure(len(raw) >= 37, "it is too short")
        return raw

    def relying_party() -> None:
        ensure(data()[:32] == hashlib.sha256(assertion["rp_id"].encode()).digest(), "it is another site's")

    def present() -> None:
        ensure(bool(data()[32] & USER_PRESENT), "nobody was there")

    def verified() -> None:
        ensure(bool(data()[32] & USER_VERIFIED), "the person was not verified")

    def signature() -> None:
        signed = data() + hashlib.sha256(decode(assertion["client_data_json"])).digest()
        _verify_with(decode(assertion["public_key"]), decode(assertion["signature"]), signed)

    def fields() -> None:
        # An agent's copy has no credential_id.
        ensure(assertion.keys() | {"credential_id"} == ASSERTION_FIELDS, "it has other fields than it should have")
        ensure(all(isinstance(value, str) for value in assertion.values()), "a field is no text")
        decode(assertion.get("credential_id", ""))

    return _run(
        {
            "assertion: fields": fields,
            "assertion: form of the decision": form,
            "assertion: challenge": challenge,
            "assertion: type": ceremony,
            "assertion: origin": origin,
            "assertion: relying party": relying_party,
            "assertion: user present": present,
            "assertion: user verified": verified,
            "assertion: signature": signature,
        }
    )


ASSERTION_FIELDS = {
    "form", "rp_id", "origin", "credential_id", "public_key", "client_data_json", "authenticator_data", "signature",
}  # fmt: skip


def _verify_with(public_key: bytes, signature: bytes, data: bytes) -> None:
    """ES256, EdDSA or RS256, as the key says (SubjectPublicKeyInfo, DER)."""
    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Wrong("the public key cannot be read") from error
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise Wrong("the public key is of a kind that is not used")
    except InvalidSignature as error:
        raise Wrong("it is not the passkey's") from error


# --- The receipt


CLAIMS = {"iss", "sub", "jti", "iat", "av"}
CALL_FIELDS = {
    "platform", "scope", "method", "endpoint", "result", "decision", "trace_id", "event", "at", "response_status",
    "record",
}  # fmt: skip
APPROVAL_FIELDS = {
    "approval_id", "digest", "form", "decision", "approver_id", "decided_via", "decided_at", "requested_at",
    "expires_at", "deny_reason", "step_up", "assertion",
}  # fmt: skip

# What each event says of the call, and which decision it goes with; None: nobody was asked.
EVENTS: Mapping[str, tuple[set[str], set[str] | None]] = {
    "action.allowed": ({"allowed"}, None),
    "action.observed": ({"allowed"}, None),
    "action.failed": ({"allowed"}, None),
    "action.denied": ({"denied"}, None),
    "approval.approved": ({"allowed"}, {"approved"}),
    "approval.denied": ({"denied"}, {"denied"}),
    "approval.expired": ({"denied"}, {"expired"}),
    "approval.executed": ({"allowed"}, {"approved"}),
    "approval.failed": ({"allowed", "denied"}, {"approved"}),  # denied: a right was gone at the last check
    "approval.outcome_unknown": ({"allowed"}, {"approved"}),
    "approval.tampered": ({"denied"}, {"pending", "approved"}),
}


def read_receipt(text: str) -> tuple[dict[str, Any], list[str], dict[str, Any], dict[str, Any]]:
    """The file, the three parts of what was signed, its header and its claims. Raises Wrong."""
    try:
        wrapper = read_object(text)
        parts = wrapper["receipt"].split(".")
        head, body, _ = parts
        return wrapper, parts, read_object(decode(head)), read_object(decode(body))
    except (Wrong, KeyError, ValueError, AttributeError, TypeError) as error:
        raise Wrong(f"this is no receipt: {error}") from error


def check_receipt(text: str, keys: str | None, *, thumbprint: str | None = None) -> list[Check]:
    """Every check of a receipt file against a file of the server's public keys, in order.

    With `thumbprint` (RFC 7638) no other key than that one counts.
    """
    try:
        wrapper, (head, body, signature), header, claims = read_receipt(text)
    except Wrong as error:
        return [("file", str(error))]

    def file() -> None:
        issuer = claims["iss"]
        expected = {
            "audit_id": claims["jti"],
            "kid": header["kid"],
            "jwks_url": issuer + KEYS_PATH,
            "did": did_of(issuer),
            "receipt": wrapper["receipt"],
        }
        ensure(wrapper.keys() == expected.keys(), "it has other fields than it should have")
        for name, value in expected.items():
            ensure(wrapper[name] == value, f"{name} is not what was signed")

    def server() -> None:
        ensure(keys is not None, "no keys were given, see --keys")
        ensure(header.keys() == {"alg", "typ", "kid"}, "the header has other fields than it should have")
        ensure(header["alg"] == "ES256" and header["typ"] == TYPE, "the header names another algorithm or type")
        listed = [key for key in read_object(keys or "")["keys"] if key["kid"] == header["kid"]]
        ensure(len(listed) == 1, "the key that it names is not among the keys")
        raw = decode(signature)
        ensure(len(raw) == 64, "it is no ES256 signature")
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        x, y = (int.from_bytes(decode(listed[0][part]), "big") for part in ("x", "y"))
        ensure(listed[0]["kty"] == "EC" and listed[0]["crv"] == "P-256", "the key is of another kind")
        ensure(header["kid"] == thumbprint_of(listed[0]), "the key's id is not that of the key")
        ensure(thumbprint in {None, header["kid"]}, "it is signed with another key than the one that you trust")
        try:
            public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            public.verify(encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise Wrong("it is not the server's") from error

    checks = _run({"file": file, "server's signature": server, "fields": lambda: _fields(claims)})
    checks += _run({"event, decision and result": lambda: _event(claims)})
    approval = claims.get("av", {}).get("approval") if isinstance(claims.get("av"), dict) else None
    if approval is not None:
        checks += _run(
            {
                "call: digest": lambda: _call(claims),
                "decision: its time": lambda: _times(claims),
                "decision: step-up": lambda: _step_up(approval),
            }
        )
    if isinstance(approval, dict) and (
        approval.get("assertion") is not None or approval.get("decided_via") == "passkey"
    ):
        checks += _assertion_of(claims, approval)
    return checks


def _fields(claims: dict[str, Any]) -> None:
    """What this program does not know, it does not vouch for."""
    av = claims["av"]
    ensure(claims.keys() == CLAIMS, "it has other claims than it should have")
    ensure(av.keys() - {"approval"} == CALL_FIELDS, "the call has other fields than it should have")
    ensure(av["decision"].keys() == {"reason", "policy_id", "policy_version", "matched"}, "the policy has other fields")
    ensure(av["record"].keys() | {"seq"} == {"owner_id", "hash", "seq"}, "the record has other fields")
    if "approval" in av:
        ensure(av["approval"].keys() - {"approver"} == APPROVAL_FIELDS, "the approval has other fields")


def _event(claims: dict[str, Any]) -> None:
    av = claims["av"]
    ensure(av["event"] in EVENTS, "nobody knows this event")
    results, decisions = EVENTS[av["event"]]
    ensure(av["result"] in results, "the result is not one of this event")
    ensure(("approval" in av) == (decisions is not None), "a decision goes with it, and is not there, or none does")
    if decisions is not None:
        ensure(av["approval"]["decision"] in decisions, "the decision is not one of this event")


def _times(claims: dict[str, Any]) -> None:
    """A person decides before the time is over, the clock does after it, and nobody has decided on what waits."""
    approval = claims["av"]["approval"]
    by_person = approval["decision"] in {"approved", "denied"}
    who = [approval[name] for name in ("approver_id", "decided_via")]
    ensure(all(isinstance(part, str) and part for part in who) if by_person else not any(who), "who decided is wrong")
    if approval["decision"] == "pending":
        ensure(approval["decided_at"] is None, "nobody has decided, and there is a time of it")
        return
    decided_at, expires_at = (datetime.fromisoformat(approval[name]) for name in ("decided_at", "expires_at"))
    ensure((decided_at < expires_at) == by_person, "it was not decided in its time")
    if claims["av"]["event"] in {"approval.approved", "approval.denied", "approval.expired"}:
        ensure(datetime.fromisoformat(claims["av"]["at"]) == decided_at, "the decision has two times")


def _step_up(approval: dict[str, Any]) -> None:
    by_passkey = approval["decided_via"] == "passkey"
    ensure(approval["step_up"] in {"", "passkey"}, "nobody knows what is demanded")
    ensure(by_passkey == (approval["assertion"] is not None), "a signature is there without a passkey, or the reverse")
    if approval["step_up"] == "passkey" and approval["decision"] in {"approved", "denied"}:
        ensure(by_passkey, "it takes a passkey, and was decided without")


def _call(claims: dict[str, Any]) -> None:
    """The call that was shown and decided on has the digest that the decision names, and is the one in the receipt."""
    av = claims["av"]
    approval = av["approval"]
    ensure(hashlib.sha256(approval["form"].encode()).hexdigest() == approval["digest"], "it is not that of the call")
    form = read_object(approval["form"])
    for name in ("platform", "scope", "method", "endpoint"):
        ensure(form[name] == av[name], f"the {name} is not that of the call")
    ensure(form["agent_id"] == claims["sub"], "the agent is not that of the call")
    ensure(form["policy_version"] == av["decision"]["policy_version"], "the policy version is not that of the call")


def _assertion_of(claims: dict[str, Any], approval: dict[str, Any]) -> Iterator[Check]:
    try:
        names = ("approver_id", "approval_id", "digest", "decision", "expires_at")
        decided = {name: approval[name] for name in names}
        decided |= {"scope": claims["av"]["scope"], "policy_version": claims["av"]["decision"]["policy_version"]}
        assertion = approval["assertion"]
        ensure(approval["decided_via"] == "passkey", "the decision was not by passkey")
        ensure(isinstance(assertion, dict), "there is none")
    except (Wrong, KeyError, TypeError) as error:
        yield ("assertion", str(error))
        return
    yield from check_assertion(assertion, decided=decided)

    def site() -> None:
        ensure(assertion["origin"] == origin_of(claims["iss"]), "it was made for another site than the issuer")

    yield from _run({"assertion: issuer's site": site})


def origin_of(url: str) -> str:
    """As browsers write it: lower case, without the port that the scheme stands for."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in {None, {"http": 80, "https": 443}.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def thumbprint_of(key: Mapping[str, Any]) -> str:
    """RFC 7638, of an EC key."""
    return encode(hashlib.sha256(canonical({name: key[name] for name in ("crv", "kty", "x", "y")})).digest())


def did_of(issuer: str) -> str:
    """did:web of the server's host."""
    return "did:web:" + urlsplit(issuer).netloc.replace(":", "%3A")


def _run(checks: Mapping[str, Callable[[], object]]) -> list[Check]:
    results = []
    for name, check in checks.items():
        try:
            check()
            results.append((name, ""))
        except Wrong as error:
            results.append((name, str(error)))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            results.append((name, f"a part is missing or of another kind: {error!r}"))
    return results


def summary(claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the receipt says, for people to compare with what they expect. In ASCII: nothing in it moves a cursor."""
    av = claims["av"]
    approval = av.get("approval") or {}
    assertion = approval.get("assertion") or {}
    key = assertion.get("public_key")
    told = {
        "issuer": claims["iss"],
        "agent": claims["sub"],
        "event": av["event"],
        "result": av["result"],
        "call": f"{av['method']} {av['endpoint']}",
        "platform and scope": f"{av['platform']} {av['scope']}",
        "digest": approval.get("digest"),
        "decision": approval.get("decision"),
        "decided by": approval.get("approver") or approval.get("approver_id"),
        "decided via": approval.get("decided_via"),
        "decided at": approval.get("decided_at"),
        "passkey's key, SHA-256": hashlib.sha256(decode(key)).hexdigest() if key else None,
    }
    for name, value in told.items():
        if value is not None:
            yield name, json.dumps(value)


def main(arguments: list[str] | None = None) -> int:
    """0: every check holds. 1: one does not, or a file cannot be read. 2: the arguments will not do."""
    parser = argparse.ArgumentParser(prog="approvals.verify_receipt", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="the receipt, as GET /v1/audit/{id}/receipt or the page gives it")
    parser.add_argument("--keys", type=Path, help=f"the server's public keys, from {KEYS_PATH}")
    parser.add_argument("--thumbprint", help="the id of the one key that you trust; then --keys may be left out")
    given = parser.parse_args(arguments)
    if given.keys is None and given.thumbprint is None:
        parser.error("give the keys that you trust: --keys FILE, or --thumbprint and the keys beside the receipt")
    keys_file = given.keys or given.file.with_name(Path(KEYS_PATH).name)
    texts = []
    for path in (given.file, keys_file):
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            sys.stdout.write(f"NOT VALID: {str(path)!a} cannot be read ({type(error).__name__})\n")
            return 1
    checks = check_receipt(*texts, thumbprint=given.thumbprint)
    for name, problem in checks:
        sys.stdout.write(f"{'FAILED' if problem else 'ok    '}  {name}{': ' + problem if problem else ''}\n")
    failed = [name for name, problem in checks if problem]
    if failed:
        sys.stdout.write(f"NOT VALID: {', '.join(failed)}\n")
        return 1
    _, _, header, claims = read_receipt(texts[0])
    told = [*summary(claims), ("signed with", header["kid"]), ("key taken from", ascii(str(keys_file)))]
    sys.stdout.writelines(f"        {name}: {value}\n" for name, value in told)
    sys.stdout.write("The receipt is valid.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
