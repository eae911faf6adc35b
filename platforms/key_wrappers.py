"""What a key that wraps data keys has to be, and the kind whose bytes stand in the settings."""

import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SERVICE = "kms:"  # how an item of the list, and the id of a key, begins if a key service holds the key
_NONCE_BYTES = 12  # NIST SP 800-38D §8.2.2: random ones, as no key seals more than some thousand times


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
