"""A device with passkeys, in software, that also tells any lie a test wants: W3C Web Authentication, level 3."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

ORIGIN = "http://localhost:8080"  # the test settings' public URL
RP_ID = "localhost"
UP, UV, AT = 0x01, 0x04, 0x40
ES256, EDDSA, RS256 = -7, -8, -257
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Credential:
    key: PrivateKey
    user_handle: bytes
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 0


@dataclass
class Lies:
    """What the device or the browser says instead of the truth; None and the defaults are honest."""

    challenge: bytes | None = None
    origin: str = ORIGIN
    rp_id: str = RP_ID
    type: str | None = None
    flags: int = UP | UV
    client_data: dict[str, Any] = field(default_factory=dict)
    user_handle: bytes | None = None
    no_user_handle: bool = False
    count: int | None = None
    credential_id: bytes | None = None
    extra: bytes = b""  # CBOR after the authenticator data


class Authenticator:
    """`counts` is False for a synced passkey, which reports 0 for ever."""

    def __init__(self, *, algorithm: int = ES256, counts: bool = True) -> None:
        self.algorithm = algorithm
        self.counts = counts
        self.credentials: list[Credential] = []

    def create(self, options: str | dict[str, Any], lies: Lies | None = None) -> str:
        """What `navigator.credentials.create` gives, as `toJSON()` writes it."""
        lies = lies or Lies()
        asked = json.loads(options) if isinstance(options, str) else options
        credential = Credential(key=self._new_key(), user_handle=decode(asked["user"]["id"]))
        self.credentials.append(credential)
        shown = lies.credential_id or credential.id
        attested = bytes(16) + len(shown).to_bytes(2, "big") + shown + cbor2.dumps(_cose(credential.key))
        data = self._data(lies, credential, extra_flags=AT) + attested + lies.extra
        client_data = _client_data(asked, lies, "webauthn.create")
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return json.dumps(
            {
                "id": encode(credential.id),
                "rawId": encode(credential.id),
                "type": "public-key",
                "clientExtensionResults": {},
                "authenticatorAttachment": "platform",
                "response": {
                    "clientDataJSON": encode(client_data),
                    "attestationObject": encode(attestation),
                    "transports": ["internal", "a-new-one"],
                },
            }
        )

    def get(self, options: str | dict[str, Any], lies: Lies | None = None) -> str:
        """What `navigator.credentials.get` gives, as `toJSON()` writes it. The newest credential signs."""
        lies = lies or Lies()
        asked = json.loads(options) if isinstance(options, str) else options
        credential = self.credentials[-1]
        if self.counts:
            credential.count += 1
        data = self._data(lies, credential) + lies.extra
        client_data = _client_data(asked, lies, "webauthn.get")
        handle = lies.user_handle if lies.user_handle is not None else credential.user_handle
        shown = encode(lies.credential_id or credential.id)
        response = {
            "clientDataJSON": encode(client_data),
            "authenticatorData": encode(data),
            "signature": encode(_sign(credential.key, data + hashlib.sha256(client_data).digest())),
        }
        if not lies.no_user_handle:
            response["userHandle"] = encode(handle)
        return json.dumps(
            {"id": shown, "rawId": shown, "type": "public-key", "clientExtensionResults": {}, "response": response}
        )

    def _new_key(self) -> PrivateKey:
        if self.algorithm == EDDSA:
            return ed25519.Ed25519PrivateKey.generate()
        if self.algorithm == RS256:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return ec.generate_private_key(ec.SECP256R1())

    def _data(self, lies: Lies, credential: Credential, *, extra_flags: int = 0) -> bytes:
        count = credential.count if lies.count is None else lies.count
        flags = lies.flags | extra_flags
        return hashlib.sha256(lies.rp_id.encode()).digest() + bytes([flags]) + count.to_bytes(4, "big")


def _client_data(asked: dict[str, Any], lies: Lies, kind: str) -> bytes:
    said = {
        "type": lies.type or kind,
        "challenge": asked["challenge"] if lies.challenge is None else encode(lies.challenge),
        "origin": lies.origin,
        "crossOrigin": False,
    }
    return json.dumps(said | lies.client_data, separators=(",", ":")).encode()


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _cose(key: PrivateKey) -> dict[int, Any]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {1: 1, 3: EDDSA, -1: 6, -2: key.public_key().public_bytes_raw()}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {1: 3, 3: RS256, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")}
    point = key.public_key().public_numbers()
    return {1: 2, 3: ES256, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
