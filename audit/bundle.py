"""The signed bundle: an unbroken part of a chain as one file that can be checked on a machine without the database.

Lines of JSON: a head, the rows (canonical text and hash), each followed by its checkpoints, and a signature by
settings.AUDIT_KEY over the SHA-256 of every byte before it. docs/audit.md has the format for other programs.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.chain import GENESIS, chain_hash, timestamp
from audit.exports import BATCH
from audit.filters import Filters, select
from audit.models import AuditEvent, Checkpoint
from audit.signing import exported, imported, is_signed, own_public_key, sign_bundle, signed_part_of_bundle

FORMAT = "agentvalet audit bundle v1"


class BadBundle(ValueError):
    """The file does not prove what it says. The text names the first thing that is wrong."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a bundle that holds up says."""

    owner_id: UUID
    created_at: str
    first_seq: int
    last_seq: int
    checkpoints: int
    public_key: bytes

    def __str__(self) -> str:
        rows = f"rows {self.first_seq} to {self.last_seq}" if self.last_seq >= self.first_seq else "no rows"
        return f"owner {self.owner_id}: {rows}, {self.checkpoints} checkpoints, signed {self.created_at}"


def span(*, owner_id: UUID, filters: Filters, up_to: int) -> tuple[int, int]:
    """The numbers of the first and the last row between the times of FILTERS; (1, 0) where there is none."""
    found, _ = select(owner_id=owner_id, filters=Filters(since=filters.since, until=filters.until))
    rows = found.filter(seq__lte=up_to)
    oldest, newest = (rows.order_by(*order).only("seq").first() for order in (("at", "seq"), ("-at", "-seq")))
    first, last = sorted((oldest.seq, newest.seq)) if oldest and newest else (1, 0)
    return first, last


def write_bundle(*, owner_id: UUID, span: tuple[int, int], now: datetime) -> Iterator[bytes]:
    """The rows of the owner from the first to the last of SPAN, and nothing left out: that would break the chain."""
    digest = hashlib.sha256()
    for piece in _body(owner_id, *span, now):
        digest.update(piece)
        yield piece
    signature = {
        "public_key": base64.b64encode(own_public_key()).decode(),
        "signature": base64.b64encode(sign_bundle(digest.digest())).decode(),
    }
    yield _line({"signature": signature})


def _body(owner_id: UUID, first: int, last: int, now: datetime) -> Iterator[bytes]:
    rows = AuditEvent.objects.for_owner(owner_id).order_by("seq")
    before = rows.filter(seq=first - 1).values_list("hash", flat=True).first()
    head = {
        "format": FORMAT,
        "owner_id": str(owner_id),
        "created_at": timestamp(now),
        "first_seq": first,
        "last_seq": last,
        "previous_hash": bytes(before or GENESIS).hex(),
    }
    yield _line(head)
    done = first - 1
    wanted = rows.filter(seq__lte=last).values_list("seq", "canonical", "hash")
    while batch := list(wanted.filter(seq__gt=done)[:BATCH]):
        begin, done = batch[0][0], batch[-1][0]
        signed: dict[int, list[Checkpoint]] = {}
        for checkpoint in Checkpoint.objects.filter(owner_id=owner_id, seq__gte=begin, seq__lte=done):
            signed.setdefault(checkpoint.seq, []).append(checkpoint)
        lines = []
        for seq, canonical, stored in batch:
            lines.append(_line({"row": canonical, "hash": bytes(stored).hex()}))
            lines += [b'{"checkpoint":' + exported(one).encode() + b"}\n" for one in signed.get(seq, [])]
        yield b"".join(lines)


def check_bundle(lines: Iterable[bytes], *, trusted: frozenset[bytes]) -> Content:
    """Hold a bundle against itself, and its signatures against the TRUSTED raw public keys. Needs no database.

    Checked: every row follows from the one before, numbers and owner are those of the head, every checkpoint agrees
    with its row, the signature covers all of it. Checkpoints of keys that nobody trusts are counted out.

    Raises BadBundle.
    """
    reader = _Reader(trusted)
    for number, line in enumerate(lines, start=1):
        try:
            reader.read(line)
        except BadBundle as error:
            raise BadBundle(f"line {number}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadBundle(f"line {number} is not a line of a bundle") from None
    return reader.content()


class _Reader:
    """A bundle up to some line, all of it good."""

    def __init__(self, trusted: frozenset[bytes]) -> None:
        self._trusted = trusted
        self._digest = hashlib.sha256()
        self._head: dict[str, str] = {}
        self._owner_id = UUID(int=0)
        self._first = self._last = self._seq = self._checkpoints = 0
        self._hash = GENESIS
        self._public_key = b""

    def read(self, line: bytes) -> None:
        if self._public_key:
            raise BadBundle("it stands behind the signature")
        fields = json.loads(line)
        if not self._head:
            self._begin(fields)
        elif "row" in fields:
            self._row(str(fields["row"]), bytes.fromhex(fields["hash"]))
        elif "checkpoint" in fields:
            self._checkpoint(json.dumps(fields["checkpoint"]))
        else:
            self._end(fields["signature"])
            return
        self._digest.update(line)

    def content(self) -> Content:
        if not self._public_key:
            raise BadBundle("it ends without its signature: the file is incomplete")
        return Content(
            owner_id=self._owner_id,
            created_at=self._head["created_at"],
            first_seq=self._first,
            last_seq=self._last,
            checkpoints=self._checkpoints,
            public_key=self._public_key,
        )

    def _begin(self, head: dict[str, str]) -> None:
        if head["format"] != FORMAT:
            raise BadBundle("it is of another format")
        self._owner_id, self._hash = UUID(head["owner_id"]), bytes.fromhex(head["previous_hash"])
        self._first, self._last = int(head["first_seq"]), int(head["last_seq"])
        self._seq = self._first - 1
        if self._first == 1 and self._hash != GENESIS:
            raise BadBundle("row 1 has nothing before it, and the head says it has")
        self._head = head

    def _row(self, canonical: str, stored: bytes) -> None:
        record = json.loads(canonical)
        if (record["owner_id"], record["seq"]) != (str(self._owner_id), self._seq + 1):
            raise BadBundle(f"row {self._seq + 1} of owner {self._owner_id} was to come here")
        if chain_hash(previous=self._hash, canonical=canonical) != stored:
            raise BadBundle(f"row {self._seq + 1} does not follow from the one before")
        self._seq, self._hash = self._seq + 1, stored

    def _checkpoint(self, text: str) -> None:
        [checkpoint] = imported(text)
        if bytes(checkpoint.public_key) not in self._trusted:
            return
        if checkpoint.owner_id != self._owner_id or not is_signed(checkpoint, trusted=self._trusted):
            raise BadBundle(f"the checkpoint at row {checkpoint.seq} is not signed by its key")
        if (self._seq, self._hash) != (checkpoint.seq, bytes(checkpoint.hash)):
            raise BadBundle(f"the checkpoint at row {checkpoint.seq} does not agree with the row before it")
        self._checkpoints += 1

    def _end(self, fields: dict[str, str]) -> None:
        public_key = base64.b64decode(fields["public_key"], validate=True)
        if self._seq != self._last:
            raise BadBundle(f"row {self._last} was to be the last, and row {self._seq} is")
        if public_key not in self._trusted:
            raise BadBundle("it is signed by a key that you did not name as trusted")
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(
                base64.b64decode(fields["signature"], validate=True), signed_part_of_bundle(self._digest.digest())
            )
        except InvalidSignature:
            raise BadBundle("the signature does not fit what stands before it") from None
        self._public_key = public_key


def _line(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
