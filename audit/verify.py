"""The verifier: walks an owner's chain, holds it against its head and its checkpoints, names the first bad row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter
from typing import Any
from uuid import UUID

from audit.chain import COLUMNS, GENESIS, chain_hash, flaw, timestamp
from audit.models import AuditEvent, ChainHead, Checkpoint
from audit.signing import is_signed, own_public_key

_BATCH = 2000  # rows per query: no long snapshot, and no more than some megabytes in memory


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far an owner's chain verifies."""

    owner_id: UUID
    seq: int  # the row walked to; every row up to it follows from the one before
    chain_hash: bytes  # its hash
    checkpoint_seq: int | None  # the last checkpoint the chain agrees with
    foreign_checkpoints: int  # in the database, signed by keys nobody vouched for, and left out
    bad_seq: int | None  # the first bad row; None when the whole chain verifies
    reason: str  # what is wrong with that row

    @property
    def verifies(self) -> bool:
        return self.bad_seq is None

    def __str__(self) -> str:
        if not self.verifies:
            return f"owner {self.owner_id}: row {self.bad_seq} is bad: {self.reason}"
        last = "none" if self.checkpoint_seq is None else str(self.checkpoint_seq)
        note = f" ({self.foreign_checkpoints} by unknown keys left out)" if self.foreign_checkpoints else ""
        return f"owner {self.owner_id}: chain verifies up to row {self.seq}, last checkpoint at {last}{note}"


def verify_owner(
    *,
    owner_id: UUID,
    saved: Iterable[Checkpoint] = (),
    since: Checkpoint | None = None,
    trusted_keys: frozenset[bytes] = frozenset(),
) -> Verdict:
    """Walk the chain of an owner from row 1, or from the row after the checkpoint SINCE.

    Checked: every row follows from the one before, and its columns equal what was hashed; no row is missing, nor
    one too many, at the end neither; the chain agrees with every checkpoint, in the database and SAVED elsewhere,
    that the own key or one of TRUSTED_KEYS has signed. Only reads; rows appended meanwhile do no harm.

    A chain that somebody recomputed agrees with itself. A checkpoint tells, and it tells a range: the row named is
    then the first after the last checkpoint that agrees.
    """
    trusted = trusted_keys | {own_public_key()}
    walk = _Walk(owner_id=owner_id, since=since)
    forged: list[Checkpoint] = []
    stored = Checkpoint.objects.filter(owner_id=owner_id, seq__gte=walk.seq).order_by("seq")
    elsewhere = [one for one in saved if one.owner_id == owner_id and one.seq >= walk.seq]
    by_seq = attrgetter("seq")
    for checkpoint in merge(stored.iterator(chunk_size=_BATCH), sorted(elsewhere, key=by_seq), key=by_seq):
        if bytes(checkpoint.public_key) not in trusted:
            walk.foreign_checkpoints += 1
        elif not is_signed(checkpoint, trusted=trusted):
            forged.append(checkpoint)
        elif bad := walk.to_checkpoint(checkpoint):
            return bad
    if bad := walk.to_head():
        return bad
    if forged:
        return walk.verdict(forged[0].seq, "the signature of its checkpoint is wrong (the checkpoint was edited)")
    return walk.verdict()


def flaw_of_row(event: AuditEvent) -> str:
    """Why EVENT is not what was recorded, held against its neighbours in the chain; "" when it is.

    Whoever has recomputed every hash after it is found by `verify_owner` and a checkpoint, not by this.
    """
    rows = AuditEvent.objects.for_owner(event.owner_id)
    head = ChainHead.objects.filter(owner_id=event.owner_id).first()  # first: it only moves forward
    previous = GENESIS if event.seq == 1 else rows.filter(seq=event.seq - 1).values_list("hash", flat=True).first()
    if head is None or previous is None:
        return "its chain has a gap (deleted)"
    reason = flaw(
        owner_id=event.owner_id,
        seq=event.seq,
        previous=bytes(previous),
        stored_hash=bytes(event.hash),
        canonical=event.canonical,
        columns=[getattr(event, name) for name in COLUMNS],
    )
    if reason:
        return reason
    if head.seq == event.seq:
        return "" if bytes(head.hash) == bytes(event.hash) else "the head of the chain does not follow from it (edited)"
    after = rows.filter(seq=event.seq + 1).values_list("hash", "canonical").first()
    if after is None or chain_hash(previous=bytes(event.hash), canonical=after[1]) != bytes(after[0]):
        return "the row after it does not follow from it (edited)"
    return ""


class _Walk:
    """A place in a chain up to which every row is good. Steps return a verdict when they meet a bad row."""

    def __init__(self, *, owner_id: UUID, since: Checkpoint | None) -> None:
        self.owner_id = owner_id
        self.seq = since.seq if since else 0
        self.chain_hash = bytes(since.hash) if since else GENESIS
        self.checkpoint_seq = since.seq if since else None
        self.foreign_checkpoints = 0

    def verdict(self, bad_seq: int | None = None, reason: str = "") -> Verdict:
        return Verdict(
            owner_id=self.owner_id,
            seq=self.seq,
            chain_hash=self.chain_hash,
            checkpoint_seq=self.checkpoint_seq,
            foreign_checkpoints=self.foreign_checkpoints,
            bad_seq=bad_seq,
            reason=reason,
        )

    def to_checkpoint(self, checkpoint: Checkpoint) -> Verdict | None:
        source = f"the checkpoint of {timestamp(checkpoint.at)}"
        bad = self._to_row(checkpoint.seq, source) or self._recomputed(bytes(checkpoint.hash), source)
        if bad is None:
            self.checkpoint_seq = checkpoint.seq
        return bad

    def to_head(self) -> Verdict | None:
        source = "the head of the chain"
        head = ChainHead.objects.filter(owner_id=self.owner_id).first()
        if head and head.seq >= self.seq:
            bad = self._to_row(head.seq, source) or self._recomputed(bytes(head.hash), source)
            if bad:
                return bad
        # Read the last row first, the head after it: then the head covers every row appended in the meantime.
        last = AuditEvent.objects.for_owner(self.owner_id).order_by("seq").last()
        head = ChainHead.objects.filter(owner_id=self.owner_id).first()
        head_seq = head.seq if head else 0
        if max(self.seq, last.seq if last else 0) > head_seq:
            return self.verdict(head_seq + 1, f"{source} is at row {head_seq} (inserted, or the head set back)")
        return None

    def _to_row(self, end: int, source: str) -> Verdict | None:
        """Walk to row END, which SOURCE says there is."""
        for seq, stored_hash, canonical, *columns in self._rows(end):
            if seq <= self.seq:
                return self.verdict(seq, "rows are numbered from 1 (inserted)")
            if seq > self.seq + 1:
                break
            reason = flaw(
                owner_id=self.owner_id,
                seq=seq,
                previous=self.chain_hash,
                stored_hash=bytes(stored_hash),
                canonical=canonical,
                columns=columns,
            )
            if reason:
                return self.verdict(seq, reason)
            self.seq, self.chain_hash = seq, bytes(stored_hash)
        if self.seq >= end:
            return None
        later = AuditEvent.objects.for_owner(self.owner_id).filter(seq__gt=self.seq).exists()
        how = "deleted; later rows are there" if later else "cut off"
        return self.verdict(self.seq + 1, f"it is missing, but {source} is at row {end} ({how})")

    def _recomputed(self, expected: bytes, source: str) -> Verdict | None:
        if self.chain_hash == expected:
            return None
        if self.checkpoint_seq == self.seq:
            return self.verdict(self.seq, f"{source} has another hash for it than its checkpoint and the row itself")
        return self.verdict(
            (self.checkpoint_seq or 0) + 1,
            f"it, or a row after it up to {self.seq}, was changed and the chain recomputed: "
            f"{source} has another hash for row {self.seq}",
        )

    def _rows(self, end: int) -> Iterator[tuple[Any, ...]]:
        rows = AuditEvent.objects.for_owner(self.owner_id).filter(seq__lte=end).order_by("seq")
        rows = rows.filter(seq__gt=self.seq) if self.seq else rows  # from the start: row 0 would be an inserted one
        while batch := list(rows.values_list("seq", "hash", "canonical", *COLUMNS)[:_BATCH]):
            yield from batch
            rows = rows.filter(seq__gt=batch[-1][0])
