"""Sealed credentials: AES-256-GCM under a data key of their own, wrapped by a key from the settings."""

from typing import NamedTuple


class VaultError(Exception):
    """Sealing or opening failed; the message is one sentence without key or plaintext."""


class Sealed(NamedTuple):
    """A sealed text as it is stored. Nonces are the first 12 bytes of each field."""

    key_id: str
    wrapped_key: bytes
    ciphertext: bytes


def seal(plaintext: str, *, aad: bytes) -> Sealed:
    """The sealed text, tied to `aad`. Raises VaultError."""
    raise NotImplementedError


def open_sealed(sealed: Sealed, *, aad: bytes) -> str:
    """The text in `sealed`. Raises VaultError."""
    raise NotImplementedError


def rewrap(sealed: Sealed, *, aad: bytes) -> Sealed:
    """The same ciphertext, its data key wrapped by the current key. Raises VaultError."""
    raise NotImplementedError
