"""What is hashed: the canonical text of a record, its hash, and the check of a stored row against both.

The hash of a row is SHA-256(DOMAIN, hash of the row before, canonical text as UTF-8); before row 1 stands GENESIS.
The canonical text is one line of ASCII JSON, `{"seq":N,"v":1,…,"metadata":{…}}`. It is stored as it was hashed
(jsonb would reorder keys and refuses NUL); the columns beside it only serve queries.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from audit.events import JSON
from audit.recordable import dump, metadata_text

DOMAIN = b"agentvalet audit v1\n"
GENESIS = bytes(32)

# Fields of the record that have a column of the same name; `seq`, `v` and `metadata` complete the record.
COLUMNS = (
    "id",
    "owner_id",
    "at",
    "event",
    "result",
    "actor_kind",
    "actor_id",
    "actor_label",
    "request_id",
    "approval_id",
    "agent_id",
    "agent_name",
    "platform",
    "action",
    "session_id",
    "reason",
)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, all a timestamptz keeps. Raises ValueError when MOMENT is naive."""
    if moment.tzinfo is None:
        raise ValueError("an audit time needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def column_text(text: str) -> str:
    """What a text column holds for a recorded TEXT: PostgreSQL has no NUL in text, the canonical JSON has."""
    return text.replace("\0", "\ufffd")


def canonical_body(*, record: Mapping[str, str | None], metadata: Mapping[str, JSON]) -> str:
    """The canonical text but for its beginning `{"seq":N`, which only the holder of the chain's lock can know.

    Raises TypeError and ValueError as `recordable.metadata_text`.
    """
    return f',"v":1,{dump(record)[1:-1]},"metadata":{metadata_text(metadata)}}}'


def chain_hash(*, previous: bytes, canonical: str) -> bytes:
    return hashlib.sha256(DOMAIN + previous + canonical.encode()).digest()


def flaw(
    *, owner_id: UUID, seq: int, previous: bytes, stored_hash: bytes, canonical: str, columns: Sequence[object]
) -> str:
    """Why the row stored as number SEQ is not what was recorded, or "" when it is.

    PREVIOUS is the hash of the row before, `columns` what the row holds in COLUMNS.
    """
    try:
        record = json.loads(canonical)
        recorded_owner, recorded_seq = record["owner_id"], record["seq"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "its canonical text is no audit record (edited)"
    if recorded_owner != str(owner_id):
        return f"it was recorded for owner {recorded_owner} (copied from there)"
    if recorded_seq != seq:
        return f"it was recorded as row {recorded_seq} (moved, or a row before it inserted or deleted)"
    if chain_hash(previous=previous, canonical=canonical) != stored_hash:
        return "its hash does not follow from its text and the row before (edited or inserted)"
    for name, stored in zip(COLUMNS, columns, strict=True):
        recorded = record.get(name)
        if _in_record(stored) != (column_text(recorded) if isinstance(recorded, str) else recorded):
            return f"its column {name} is not what was recorded (edited)"
    return ""


def _in_record(stored: object) -> object:
    if isinstance(stored, datetime):
        return timestamp(stored)
    return str(stored) if isinstance(stored, UUID) else stored
