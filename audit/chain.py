"""What is hashed: the canonical text of a record, its hash, and the check of one stored row against both.

A row's hash is SHA-256(DOMAIN ‖ hash of the row before ‖ canonical text in UTF-8); the row before row 1 has GENESIS.
The canonical text is one line of ASCII JSON without spaces: `{"seq":N,"v":1,…,"metadata":{…}}`, metadata keys sorted.
It is stored as it was hashed (jsonb would reorder keys and refuses NUL); the other columns only serve queries.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from audit.events import JSON

DOMAIN = b"agentvalet audit v1\n"
GENESIS = bytes(32)

COLUMNS = (
    "id", "owner_id", "at", "event", "result", "actor_kind", "actor_id", "actor_label", "request_id", "approval_id",
    "agent_id", "agent_name", "platform", "action", "session_id", "reason",
)  # fmt: skip
"""Fields of the record that have a column of the same name. `seq`, `v` and `metadata` complete the record."""

SHORT_TEXT = 300  # characters, every text column but `reason`
LONG_TEXT = 2000  # characters, `reason`
METADATA_LIMIT = 16 * 1024  # characters of canonical JSON
METADATA_DEPTH = 32
CUT = "… [cut]"

_SURROGATE = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """TEXT with lone surrogates, which no UTF-8 can hold, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def shortened(text: str, limit: int) -> str:
    """Storable TEXT of at most LIMIT characters; a cut shows."""
    text = storable(text)
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def column_text(text: str) -> str:
    """What a text column holds for the recorded TEXT: PostgreSQL has no NUL in text."""
    return text.replace("\0", "\ufffd")


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, all a timestamptz keeps. Raises ValueError when MOMENT is naive."""
    if moment.tzinfo is None:
        raise ValueError("an audit time needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def canonical_body(record: Mapping[str, str | None], metadata: Mapping[str, JSON] | None) -> str:
    """The canonical text but for its head `{"seq":N`, which only the holder of the chain's lock can know.

    Raises TypeError for metadata that is not JSON (bytes among it), ValueError for NaN and infinity.
    """
    return f',"v":1,{_dump(record)[1:-1]},"metadata":{_metadata_text(metadata or {})}}}'


def chain_hash(previous: bytes, canonical: str) -> bytes:
    return hashlib.sha256(DOMAIN + previous + canonical.encode()).digest()


def flaw(*, row: Sequence[object], owner_id: UUID, seq: int, previous: bytes, digest: bytes, canonical: str) -> str:
    """Why the stored row number SEQ is not what was recorded, or "" when it is. ROW holds the values of COLUMNS."""
    try:
        record = json.loads(canonical)
        recorded_owner, recorded_seq = record["owner_id"], record["seq"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "its canonical text is no audit record (edited)"
    if recorded_owner != str(owner_id):
        return f"its canonical text is a record of owner {recorded_owner} (copied)"
    if recorded_seq != seq:
        return f"its canonical text was recorded as row {recorded_seq} (reordered, or a row inserted or deleted before it)"
    if chain_hash(previous, canonical) != digest:
        return "its hash does not follow from its canonical text and the row before (edited or inserted)"
    for name, stored in zip(COLUMNS, row, strict=True):
        recorded = record.get(name)
        if (column_text(recorded) if isinstance(recorded, str) else recorded) != _recorded_form(stored):
            return f"its column {name} is not what was recorded (edited)"
    return ""


def _recorded_form(stored: object) -> object:
    if isinstance(stored, datetime):
        return timestamp(stored)
    return str(stored) if isinstance(stored, UUID) else stored


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=False, allow_nan=False)


def _metadata_text(metadata: Mapping[str, JSON]) -> str:
    """Canonical JSON of METADATA within METADATA_LIMIT: the largest values make way for a mark that tells their size."""
    parts = {key: _dump(value) for key, value in sorted(_plain_object(metadata, METADATA_DEPTH).items())}
    text = _joined(parts)
    if len(text) <= METADATA_LIMIT:
        return text
    for key in sorted(parts, key=lambda key: len(parts[key]), reverse=True):
        parts[key] = _cut_mark(parts[key])
        if len(text := _joined(parts)) <= METADATA_LIMIT:
            return text
    return _joined({"cut": _cut_mark(text)})


def _joined(parts: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{_dump(key)}:{value}" for key, value in parts.items()) + "}"


def _cut_mark(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _dump({"cut": True, "characters": len(text), "sha256": digest, "begins": text[:200]})


def _plain_object(value: Mapping[str, JSON], depth: int) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"audit metadata has a key of type {type(key).__name__}: use text")
        name = storable(key)
        while name in plain:  # two keys that differ only in lone surrogates: keep both values
            name += "\ufffd"
        plain[name] = _plain(item, depth - 1)
    return dict(sorted(plain.items()))


def _plain(value: object, depth: int) -> object:
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple):
        if depth < 1:
            return CUT
        if isinstance(value, Mapping):
            return _plain_object(value, depth)
        return [_plain(item, depth - 1) for item in value]
    raise TypeError(f"audit metadata holds a {type(value).__name__}: only JSON can be recorded")
