"""Sealed credentials: AES-256-GCM under a data key of their own, wrapped by a key of AGENTVALET_VAULT_KEYS.

Rotation touches the wrapped data keys only: put a new key in front in AGENTVALET_VAULT_KEYS, rewrap every row
(`manage.py rotate_vault_key`), then drop the old key. A key may be in a key service: nothing here is called inside a
transaction.
"""

import secrets
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from platforms.key_ring import KEY_BYTES, KeyRing
from platforms.key_wrappers import KeyServiceError, VaultError, decrypt, encrypt

__all__ = ["KeyServiceError", "VaultError"]  # the other names of this module are its own


class Sealed(NamedTuple):
    """A sealed text as it is stored. The nonces are the first 12 bytes of wrapped_key and ciphertext."""

    key_id: str
    wrapped_key: bytes
    ciphertext: bytes


EMPTY = Sealed("", b"", b"")
"""Stands where a credential was that no key opens any more."""


def seal(plaintext: str, *, aad: bytes) -> Sealed:
    """The sealed text; it opens only with the same `aad`, which names its place (row and version).

    Raises VaultError if AGENTVALET_VAULT_KEYS is unusable, KeyServiceError if its first key cannot be asked.
    """
    wrapper = _key_ring().current
    data_key = secrets.token_bytes(KEY_BYTES)
    return Sealed(
        key_id=wrapper.key_id,
        wrapped_key=wrapper.wrap(data_key, aad=aad),
        ciphertext=encrypt(AESGCM(data_key), plaintext.encode(), aad=_text_aad(aad)),
    )


def open_sealed(sealed: Sealed, *, aad: bytes) -> str:
    """The text in `sealed`.

    Raises VaultError if a key is missing, or a byte or the place was changed; KeyServiceError if that cannot be said.
    """
    if sealed == EMPTY:
        raise VaultError("There is no credential any more: provision a new one.")
    data_key = _key_ring().named(sealed.key_id).unwrap(sealed.wrapped_key, aad=aad)
    return decrypt(AESGCM(data_key), sealed.ciphertext, aad=_text_aad(aad)).decode()


def rewrap(sealed: Sealed, *, aad: bytes) -> Sealed:
    """`sealed` with its data key under the current key; the same object if it is already.

    The plaintext is not opened. Raises as `open_sealed` does.
    """
    ring = _key_ring()
    data_key = ring.named(sealed.key_id).unwrap(sealed.wrapped_key, aad=aad)
    if sealed.key_id == ring.current.key_id:
        return sealed
    return sealed._replace(key_id=ring.current.key_id, wrapped_key=ring.current.wrap(data_key, aad=aad))


def check_keys() -> None:
    """Raises VaultError with a sentence if AGENTVALET_VAULT_KEYS is unusable. Asks no key service."""
    _key_ring()


def check_current_key() -> None:
    """For the checks at start: has the first key wrap and unwrap something. Raises VaultError, KeyServiceError."""
    place = b"a check at start"
    open_sealed(seal("", aad=place), aad=place)


def current_key_id() -> str:
    """The id of the key that seals. Raises VaultError if AGENTVALET_VAULT_KEYS is unusable, KeyServiceError."""
    return _key_ring().current.key_id


def _key_ring() -> KeyRing:
    return _parsed(settings.VAULT_KEYS)


@lru_cache(maxsize=2)
def _parsed(text: str) -> KeyRing:
    return KeyRing(text)


def _text_aad(aad: bytes) -> bytes:
    return b"agentvalet vault 1 text\0" + aad
