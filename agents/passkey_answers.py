"""What comes back from a device, read strictly: everything in it is a stranger's until it has been verified."""

import binascii
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

from agents.passkey_models import Passkey
from agents.strict_json import JSONRefused, read_json

MOST_CHARACTERS = 16 * 1024  # the largest real ones, with an RSA attestation, have about 4 KiB
FAILED = "This passkey could not be used. Nothing was done: try again."


class PasskeyRefused(Exception):
    """The passkey did not do. `check` names what failed, for logs and tests; the person gets one sentence.

    `passkey` is the one that was tried, where it is known.
    """

    def __init__(self, check: str, sentence: str = FAILED, *, passkey: Passkey | None = None) -> None:
        super().__init__(sentence)
        self.check = check
        self.passkey = passkey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAnswer:
    """A PublicKeyCredential as `toJSON()` writes it, taken apart."""

    json: dict[str, Any]
    credential_id: bytes
    challenge: bytes
    client_data: bytes
    authenticator_data: bytes  # empty in a registration
    signature: bytes
    user_handle: bytes | None


def read_answer(text: str) -> DeviceAnswer:
    """Raises PasskeyRefused: this is not what a browser sends."""
    if len(text) > MOST_CHARACTERS:
        raise PasskeyRefused("too_large")
    data = _object(text.encode("utf-8", "replace"))
    response = data.get("response")
    if not isinstance(response, dict) or data.get("type") != "public-key" or data.get("id") != data.get("rawId"):
        raise PasskeyRefused("malformed")
    client_data = _bytes(response.get("clientDataJSON"))
    said = _object(client_data)
    if said.get("crossOrigin", False) is not False or "topOrigin" in said:
        raise PasskeyRefused("cross_origin")  # py_webauthn leaves this open; nobody embeds our pages
    handle = response.get("userHandle")
    return DeviceAnswer(
        json=data,
        credential_id=_bytes(data.get("id")),
        challenge=_bytes(said.get("challenge")),
        client_data=client_data,
        authenticator_data=_bytes(response.get("authenticatorData", "")),
        signature=_bytes(response.get("signature", "")),
        user_handle=None if handle is None else _bytes(handle),
    )


def transports_of(answer: DeviceAnswer) -> list[str]:
    """The device's hints for the next time; only words that are known go into options again."""
    said = answer.json["response"].get("transports")
    known = ("usb", "nfc", "ble", "smart-card", "hybrid", "internal")
    return [word for word in known if word in said] if isinstance(said, list) else []


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = read_json(data)
    except JSONRefused as error:
        raise PasskeyRefused("malformed") from error
    if not isinstance(value, dict):
        raise PasskeyRefused("malformed")
    return dict(value)


def _bytes(value: Any) -> bytes:
    """Base64url without padding (RFC 4648, section 5)."""
    if not isinstance(value, str) or not value.isascii() or "=" in value or set(value) & {"+", "/"}:
        raise PasskeyRefused("malformed")
    try:
        decoded = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError) as error:
        raise PasskeyRefused("malformed") from error
    return decoded
