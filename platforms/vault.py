"""Sealed credentials: AES-256-GCM under a data key of their own, wrapped by a key from the settings.

Rotation touches the wrapped data keys only: put a new key in front in AGENTVALET_VAULT_KEYS, rewrap every row
(`manage.py rotate_vault_key`), then drop the old key.
"""

import base64
import binascii
import re
import secrets
from functools import lru_cache
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D §8.2.2: random ones, as no key seals more than some thousand times
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class VaultError(Exception):
    """Sealing or opening failed; the message is one sentence without key or plaintext."""


class Sealed(NamedTuple):
    """A sealed text as it is stored. The nonces are the first 12 bytes of wrapped_key and ciphertext."""

    key_id: str
    wrapped_key: bytes
    ciphertext: bytes


EMPTY = Sealed("", b"", b"")
"""Stands where a credential was that no key opens any more."""


class KeyWrapper(Protocol):
    """Wraps data keys under key-encryption keys that have names. A KMS or a transit engine can stand here."""

    @property
    def current_key_id(self) -> str:
        """The key that wraps."""

    def wrap(self, data_key: bytes, *, aad: bytes) -> bytes:
        """`data_key` under the current key, bound to `aad`. Raises VaultError."""

    def unwrap(self, wrapped_key: bytes, *, key_id: str, aad: bytes) -> bytes:
        """The data key. Raises VaultError if `key_id` is unknown or anything was changed."""


class SettingsKeyWrapper:
    """Wraps with the keys of AGENTVALET_VAULT_KEYS, "id:base64,id:base64"; the first one is current."""

    def __init__(self, text: str) -> None:
        """Raises VaultError with a sentence about what is wrong in `text`."""
        if not text.strip():
            raise VaultError("AGENTVALET_VAULT_KEYS is not set: `python manage.py make_keys` prints a key.")
        self._keys: dict[str, AESGCM] = {}
        for number, item in enumerate(text.split(","), start=1):
            key_id, _, encoded = item.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            # The number and not the text: a key written without its id would end up in a log.
            if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES:
                raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS is not id:base64 of {_KEY_BYTES} bytes.")
            if key_id in self._keys:
                raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS has the id of an earlier one.")
            self._keys[key_id] = AESGCM(key)

    @property
    def current_key_id(self) -> str:
        return next(iter(self._keys))

    def wrap(self, data_key: bytes, *, aad: bytes) -> bytes:
        key_id = self.current_key_id
        return _encrypt(self._keys[key_id], data_key, aad=_wrap_aad(key_id, aad))

    def unwrap(self, wrapped_key: bytes, *, key_id: str, aad: bytes) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise VaultError(f"AGENTVALET_VAULT_KEYS lacks the key {key_id!r} that sealed the credential.")
        return _decrypt(key, wrapped_key, aad=_wrap_aad(key_id, aad))


def seal(plaintext: str, *, aad: bytes) -> Sealed:
    """The sealed text; it opens only with the same `aad`, which names its place (row and version).

    Raises VaultError if AGENTVALET_VAULT_KEYS is unusable.
    """
    wrapper = _wrapper()
    data_key = secrets.token_bytes(_KEY_BYTES)
    return Sealed(
        key_id=wrapper.current_key_id,
        wrapped_key=wrapper.wrap(data_key, aad=aad),
        ciphertext=_encrypt(AESGCM(data_key), plaintext.encode(), aad=_text_aad(aad)),
    )


def open_sealed(sealed: Sealed, *, aad: bytes) -> str:
    """The text in `sealed`. Raises VaultError if a key is missing, or a byte or the place was changed."""
    if sealed == EMPTY:
        raise VaultError("There is no credential any more: provision a new one.")
    data_key = _wrapper().unwrap(sealed.wrapped_key, key_id=sealed.key_id, aad=aad)
    return _decrypt(AESGCM(data_key), sealed.ciphertext, aad=_text_aad(aad)).decode()


def rewrap(sealed: Sealed, *, aad: bytes) -> Sealed:
    """`sealed` with its data key under the current key; the same object if it is already. Raises VaultError.

    The plaintext is not opened.
    """
    wrapper = _wrapper()
    data_key = wrapper.unwrap(sealed.wrapped_key, key_id=sealed.key_id, aad=aad)
    if sealed.key_id == wrapper.current_key_id:
        return sealed
    return sealed._replace(key_id=wrapper.current_key_id, wrapped_key=wrapper.wrap(data_key, aad=aad))


def check_keys() -> None:
    """Raises VaultError with a sentence if AGENTVALET_VAULT_KEYS is unusable; for the checks at start."""
    _wrapper()


def current_key_id() -> str:
    """The id of the key that seals. Raises VaultError if AGENTVALET_VAULT_KEYS is unusable."""
    return _wrapper().current_key_id


def _wrapper() -> KeyWrapper:
    return _parsed(settings.VAULT_KEYS)


@lru_cache(maxsize=2)
def _parsed(text: str) -> SettingsKeyWrapper:
    return SettingsKeyWrapper(text)


def _wrap_aad(key_id: str, aad: bytes) -> bytes:
    return b"agentvalet vault 1 data key\0" + key_id.encode() + b"\0" + aad


def _text_aad(aad: bytes) -> bytes:
    return b"agentvalet vault 1 text\0" + aad


def _encrypt(key: AESGCM, plaintext: bytes, *, aad: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, aad)


def _decrypt(key: AESGCM, sealed: bytes, *, aad: bytes) -> bytes:
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
        raise VaultError("The sealed credential does not open: wrong vault key or changed row.") from None
