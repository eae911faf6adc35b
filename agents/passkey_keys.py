"""A passkey's public key: as devices give it (COSE), as receipts carry it, and how the record names it."""

import hashlib

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography


def spki(public_key: bytes) -> bytes:
    """A COSE key as SubjectPublicKeyInfo, DER."""
    key = decoded_public_key_to_cryptography(decode_credential_public_key(public_key))
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def names_on_record(*, credential_id: bytes, public_key: bytes) -> dict[str, str]:
    """What the audit log says of a passkey: each SHA-256 can be computed from a receipt, and leads nowhere without one.

    `public_key` is the COSE key.
    """
    return {
        "public_key_sha256": hashlib.sha256(public_key).hexdigest(),
        "spki_sha256": hashlib.sha256(spki(public_key)).hexdigest(),
        "credential_id_sha256": hashlib.sha256(credential_id).hexdigest(),
    }
