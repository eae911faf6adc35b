"""Ed25519 signatures over checkpoints (RFC 8032), and checkpoints as lines of a file that leaves this machine."""

import base64
import json
from datetime import datetime
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.chain import timestamp
from audit.models import Checkpoint

CHECKPOINT_DOMAIN = b"agentvalet audit checkpoint v1\n"
BUNDLE_DOMAIN = b"agentvalet audit bundle v1\n"


def own_public_key() -> bytes:
    """The raw public half (32 bytes) of settings.AUDIT_KEY. Raises ImproperlyConfigured when that is no key."""
    return _own_key().public_key().public_bytes_raw()


def signed_checkpoint(*, owner_id: UUID, seq: int, chain_hash: bytes, now: datetime) -> Checkpoint:
    """An unsaved checkpoint that says: row SEQ of this owner has this hash. Signed with settings.AUDIT_KEY."""
    key = _own_key()
    checkpoint = Checkpoint(
        owner_id=owner_id, seq=seq, hash=chain_hash, at=now, public_key=key.public_key().public_bytes_raw()
    )
    checkpoint.signature = key.sign(_signed_bytes(checkpoint))
    return checkpoint


def is_signed(checkpoint: Checkpoint, *, trusted: frozenset[bytes]) -> bool:
    """Whether the checkpoint carries a valid signature by one of the TRUSTED raw public keys."""
    public_key = bytes(checkpoint.public_key)
    if public_key not in trusted:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(bytes(checkpoint.signature), _signed_bytes(checkpoint))
    except InvalidSignature:
        return False
    return True


def signed_part_of_bundle(digest: bytes) -> bytes:
    """What the signature of a bundle covers, for the SHA-256 of the lines before it."""
    return BUNDLE_DOMAIN + digest


def sign_bundle(digest: bytes) -> bytes:
    """The signature of settings.AUDIT_KEY under a bundle whose lines have this SHA-256."""
    return _own_key().sign(signed_part_of_bundle(digest))


def exported(checkpoint: Checkpoint) -> str:
    """The checkpoint as one line of JSON."""
    return json.dumps(
        {
            "owner_id": str(checkpoint.owner_id),
            "seq": checkpoint.seq,
            "hash": bytes(checkpoint.hash).hex(),
            "at": timestamp(checkpoint.at),
            "public_key": base64.b64encode(checkpoint.public_key).decode(),
            "signature": base64.b64encode(checkpoint.signature).decode(),
        }
    )


def imported(text: str) -> list[Checkpoint]:
    """The checkpoints (unsaved, signatures not yet checked) in TEXT, one line of JSON each.

    Raises ValueError with the number of a line that is none.
    """
    checkpoints = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            checkpoint = Checkpoint(
                owner_id=UUID(fields["owner_id"]),
                seq=int(fields["seq"]),
                hash=bytes.fromhex(fields["hash"]),
                at=datetime.fromisoformat(fields["at"]),
                public_key=base64.b64decode(fields["public_key"], validate=True),
                signature=base64.b64decode(fields["signature"], validate=True),
            )
            _signed_bytes(checkpoint)  # the time has a zone, the number fits
            checkpoints.append(checkpoint)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise ValueError(f"line {number} is not a checkpoint") from None
    return checkpoints


def _own_key() -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(settings.AUDIT_KEY, validate=True))
    except ValueError:
        raise ImproperlyConfigured(
            "AGENTVALET_AUDIT_KEY is not a key: set it to the base64 of 32 random bytes."
        ) from None


def _signed_bytes(checkpoint: Checkpoint) -> bytes:
    return b"".join(
        (
            CHECKPOINT_DOMAIN,
            checkpoint.owner_id.bytes,
            checkpoint.seq.to_bytes(8, "big", signed=True),
            bytes(checkpoint.hash),
            timestamp(checkpoint.at).encode(),
        )
    )
