"""The keys that wrap data keys: those in the settings, and the list of keys that AGENTVALET_VAULT_KEYS is."""

import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
SERVICE = "kms:"  # how an item of the list, and the id of a key, begins if a key service holds the key
_NONCE_BYTES = 12  # NIST SP 800-38D §8.2.2: random ones, as no key seals more than some thousand times
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class VaultError(Exception):
    """Sealing or opening failed; the message is one sentence without key or plaintext."""


class KeyServiceError(VaultError):
    """A key service could not be asked, or did not want to answer: nothing is said about what is sealed."""


class KeyWrapper(Protocol):
    """One key-encryption key. May wait for a network: never call it inside a transaction."""

    @property
    def key_id(self) -> str:
        """Its name, kept beside what it has wrapped. Raises KeyServiceError."""

    def wrap(self, data_key: bytes, *, aad: bytes) -> bytes:
        """`data_key` under this key, bound to `aad`. Raises KeyServiceError."""

    def unwrap(self, wrapped_key: bytes, *, aad: bytes) -> bytes:
        """The data key. Raises VaultError if anything was changed, KeyServiceError if that cannot be said."""


class SettingsKey:
    """A key that stands in the settings as it is."""

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id = key_id
        self._key = AESGCM(key)

    def wrap(self, data_key: bytes, *, aad: bytes) -> bytes:
        return encrypt(self._key, data_key, aad=self._aad(aad))

    def unwrap(self, wrapped_key: bytes, *, aad: bytes) -> bytes:
        return decrypt(self._key, wrapped_key, aad=self._aad(aad))

    def _aad(self, aad: bytes) -> bytes:
        return b"agentvalet vault 1 data key\0" + self.key_id.encode() + b"\0" + aad


class KeyRing:
    """The keys of AGENTVALET_VAULT_KEYS: "id:base64" or "kms:KEY", comma separated; the first one wraps."""

    def __init__(self, text: str) -> None:
        """Nothing is asked of a key service here. Raises VaultError with a sentence about what is wrong in `text`."""
        if not text.strip():
            raise VaultError("AGENTVALET_VAULT_KEYS is not set: `python manage.py make_keys` prints a key.")
        self._in_settings: dict[str, KeyWrapper] = {}
        self._in_service: dict[str, KeyWrapper] = {}
        self._all: list[KeyWrapper] = []
        for number, item in enumerate(text.split(","), start=1):
            name, key = _parsed(item.strip(), number)
            group = self._in_service if item.strip().startswith(SERVICE) else self._in_settings
            if name in group:
                raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS has the id of an earlier one.")
            group[name] = key
            self._all.append(key)

    @property
    def current(self) -> KeyWrapper:
        return self._all[0]

    @property
    def all(self) -> Sequence[KeyWrapper]:
        return self._all

    def named(self, key_id: str) -> KeyWrapper:
        """The key with this id.

        Raises:
            KeyServiceError: it may be one in a key service, which cannot say which key an alias stands for.
            VaultError: the list lacks it.
        """
        if key := self._in_settings.get(key_id):
            return key
        away: KeyServiceError | None = None
        for key in self._in_service.values() if key_id.startswith(SERVICE) else ():
            try:
                if key.key_id == key_id:
                    return key
            except KeyServiceError as error:
                away = error
        raise away or VaultError(f"AGENTVALET_VAULT_KEYS lacks the key {key_id!r} that sealed the credential.")


def _parsed(item: str, number: int) -> tuple[str, KeyWrapper]:
    if item.startswith(SERVICE):
        from platforms.aws_kms import KmsKey, is_key_name  # noqa: PLC0415 - the extra `kms` need not be installed

        name = item.removeprefix(SERVICE)
        if not is_key_name(name):
            raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS is not kms: and the ARN, id or alias of a key.")
        return name, KmsKey(name)
    key_id, _, encoded = item.partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # The number and not the text: a key written without its id would end up in a log.
    if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
        raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS is not id:base64 of {KEY_BYTES} bytes.")
    return key_id, SettingsKey(key_id, key)


def encrypt(key: AESGCM, plaintext: bytes, *, aad: bytes) -> bytes:
    """AES-256-GCM; the nonce is the first 12 bytes."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, aad)


def decrypt(key: AESGCM, sealed: bytes, *, aad: bytes) -> bytes:
    """What `encrypt` took. Raises VaultError."""
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
        raise VaultError("The sealed credential does not open: wrong vault key or changed row.") from None
