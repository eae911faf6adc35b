"""Checks a receipt without the server that wrote it: `python -m approvals.verify_receipt FILE [--keys FILE]`.

Everything is in this file; beyond Python it needs `cryptography` alone. docs/receipts.md says what a
receipt holds. The server itself uses `check_assertion` before it makes a call that a passkey has approved.
"""

import argparse
import hashlib
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

TYPE = "agentvalet-receipt+jwt"
KEYS_PATH = "/.well-known/agentvalet-receipt-keys.json"
FORM_TYPE, FORM_VERSION = "agentvalet.decision", 1
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

    `decided` has approval_id, digest, decision, scope, expires_at and policy_version.
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
        ensure(assertion.keys() == ASSERTION_FIELDS, "it has other fields than it should have")
        ensure(all(isinstance(value, str) for value in assertion.values()), "a field is no text")
        decode(assertion["credential_id"])

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


def check_receipt(text: str, keys: str | None) -> list[Check]:
    """Every check of a receipt file against a file of the server's public keys, in order."""
    try:
        wrapper = read_object(text)
        head, body, signature = wrapper["receipt"].split(".")
        header, claims = read_object(decode(head)), read_object(decode(body))
    except (Wrong, KeyError, ValueError, AttributeError, TypeError) as error:
        return [("file", f"this is no receipt: {error}")]

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
        try:
            public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            public.verify(encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError) as error:
            raise Wrong("it is not the server's") from error

    checks = [*_run({"file": file, "server's signature": server})]
    approval = claims.get("av", {}).get("approval") if isinstance(claims.get("av"), dict) else None
    if approval is not None:
        checks += _run({"call: digest": lambda: _call(claims)})
    if isinstance(approval, dict) and (
        approval.get("assertion") is not None or approval.get("decided_via") == "passkey"
    ):
        checks += _assertion_of(claims, approval)
    return checks


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
        decided = {name: approval[name] for name in ("approval_id", "digest", "decision", "expires_at")}
        decided |= {"scope": claims["av"]["scope"], "policy_version": claims["av"]["decision"]["policy_version"]}
        assertion = approval["assertion"]
        ensure(approval["decided_via"] == "passkey", "the decision was not by passkey")
        ensure(isinstance(assertion, dict), "there is none")
    except (Wrong, KeyError, TypeError) as error:
        yield ("assertion", str(error))
        return
    yield from check_assertion(assertion, decided=decided)


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


def main(arguments: list[str] | None = None) -> int:
    """0: every check holds. 1: one does not."""
    parser = argparse.ArgumentParser(prog="approvals.verify_receipt", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="the receipt, as GET /v1/audit/{id}/receipt or the page gives it")
    parser.add_argument("--keys", type=Path, help=f"the server's public keys, from {KEYS_PATH}; beside FILE by default")
    given = parser.parse_args(arguments)
    beside = given.file.with_name(Path(KEYS_PATH).name)
    keys = given.keys or (beside if beside.is_file() else None)
    checks = check_receipt(given.file.read_text(), keys.read_text() if keys else None)
    for name, problem in checks:
        sys.stdout.write(f"{'FAILED' if problem else 'ok    '}  {name}{': ' + problem if problem else ''}\n")
    failed = [name for name, problem in checks if problem]
    sys.stdout.write(f"NOT VALID: {', '.join(failed)}\n" if failed else "The receipt is valid.\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
