"""Agents' public keys: what is accepted, and how one is told from another."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from joserfc.jwk import RSAKey

MIN_BITS, MAX_BITS = 2048, 8192
MAX_PEM_LENGTH = 8 * 1024


class KeyRefused(ValueError):
    """Not a key an agent may sign with. The text says what to send instead."""


def make_key_pair() -> tuple[str, str]:
    """A fresh RSA pair as PKCS#8 and SubjectPublicKeyInfo PEM, where a client cannot make its own.

    The private half is answered once and never kept. It takes a tenth of a second: make it outside of transactions.
    """
    key = generate_private_key(public_exponent=65537, key_size=MIN_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def read_public_key(pem: str) -> tuple[str, str]:
    """The key as SubjectPublicKeyInfo PEM, and its RFC 7638 thumbprint.

    Raises:
        KeyRefused: not one RSA public key of 2,048 to 8,192 bits.
    """
    if len(pem) > MAX_PEM_LENGTH or pem.count("-----BEGIN") != 1 or "PRIVATE" in pem:
        raise KeyRefused("Send one public key in PEM form, the half that begins with -----BEGIN PUBLIC KEY-----.")
    try:
        key = load_pem_public_key(pem.strip().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("This is not a public key in PEM form (SubjectPublicKeyInfo).") from error
    if not isinstance(key, RSAPublicKey) or not MIN_BITS <= key.key_size <= MAX_BITS:
        raise KeyRefused(f"The key must be an RSA key of {MIN_BITS} to {MAX_BITS} bits.")
    normal = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return normal, RSAKey.import_key(normal).thumbprint()
