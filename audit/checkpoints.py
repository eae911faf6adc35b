"""Regular checkpoints: verify what was appended since the last one, sign where the chain stands now."""

import logging
from datetime import datetime
from uuid import UUID

from django.db.models import F, OuterRef, Q, Subquery

from audit import checks
from audit.models import ChainHead, Checkpoint
from audit.signing import exported, is_signed, own_public_key, signed_checkpoint
from audit.verify import Verdict, verify_owner

logger = logging.getLogger(__name__)


def checkpoint_moved_chains(*, now: datetime) -> list[Verdict]:
    """Sign a checkpoint for every owner whose chain moved since the last one; returns the verdict on each of them.

    A chain whose new rows do not verify gets no checkpoint, and an error in the log. Every checkpoint goes to the
    log as a line of JSON as well: kept away from this machine, it shows later what somebody with full rights in the
    database would hide. Needs no transaction; two runs at once sign the same and one of them is kept.
    """
    return [_checkpoint(owner_id=owner_id, now=now) for owner_id in _moved_owners()]


def latest_checkpoint(*, owner_id: UUID) -> Checkpoint | None:
    """The last checkpoint of the owner that settings.AUDIT_KEY has signed."""
    own = own_public_key()
    of_own_key = Checkpoint.objects.filter(owner_id=owner_id, public_key=own).order_by("-seq")
    return next((one for one in of_own_key.iterator(chunk_size=10) if is_signed(one, trusted=frozenset({own}))), None)


def _moved_owners() -> list[UUID]:
    last = Checkpoint.objects.filter(owner_id=OuterRef("owner_id"), public_key=own_public_key())
    heads = ChainHead.objects.annotate(signed_seq=Subquery(last.order_by("-seq").values("seq")[:1]))
    moved = heads.filter(Q(signed_seq=None) | Q(signed_seq__lt=F("seq")))
    return list(moved.order_by("owner_id").values_list("owner_id", flat=True))


def _checkpoint(*, owner_id: UUID, now: datetime) -> Verdict:
    verdict = verify_owner(owner_id=owner_id, since=latest_checkpoint(owner_id=owner_id))
    checks.note(verdict=verdict, is_whole=False, now=now)
    if not verdict.verifies:
        logger.error("audit chain broken, no checkpoint signed: %s", verdict)
        return verdict
    checkpoint = signed_checkpoint(owner_id=owner_id, seq=verdict.seq, chain_hash=verdict.chain_hash, now=now)
    Checkpoint.objects.bulk_create([checkpoint], ignore_conflicts=True)
    logger.info("audit checkpoint %s", exported(checkpoint))
    return verdict
