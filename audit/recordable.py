"""What goes into a record: text that UTF-8 can hold, metadata that is JSON, both cut to size with a mark."""

import hashlib
import json
import re
from collections.abc import Mapping

from audit.events import JSON

SHORT_TEXT = 300  # characters, every text column but `reason`
LONG_TEXT = 2000  # characters, `reason`
METADATA_LIMIT = 16 * 1024  # characters of JSON
METADATA_DEPTH = 32  # levels
CUT = "… [cut]"

_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTED_FROM_CUT = 200  # characters of JSON

dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""ASCII JSON without spaces, keys in the order given. Raises ValueError for NaN and infinity."""


def storable(text: str) -> str:
    """TEXT with lone surrogates, which no UTF-8 can hold, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def shortened(text: str, limit: int) -> str:
    """Storable TEXT of at most LIMIT characters; a cut shows."""
    text = storable(text)
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def metadata_text(metadata: Mapping[str, JSON]) -> str:
    """METADATA as a JSON object, keys sorted on every level, within METADATA_LIMIT.

    Where it is larger, the largest values make way, one after the other, for a mark that tells their size, their
    SHA-256 and how they begin. Raises TypeError for what is not JSON (bytes among it), ValueError for NaN and infinity.
    """
    plain = _plain_object(metadata, METADATA_DEPTH)
    text = dump(plain)
    if len(text) <= METADATA_LIMIT:
        return text
    sizes = {key: len(dump(value)) for key, value in plain.items()}
    excess = len(text) - METADATA_LIMIT
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        plain[key] = _cut_mark(dump(plain[key]))
        excess -= sizes[key] - len(dump(plain[key]))
    else:
        plain = {"cut": _cut_mark(text)} if excess > 0 else plain
    return dump(plain)


def _cut_mark(text: str) -> dict[str, object]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"cut": True, "characters": len(text), "sha256": digest, "begins": text[:_QUOTED_FROM_CUT]}


def _plain_object(value: Mapping[str, JSON], depth: int) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"audit metadata has a key of type {type(key).__name__}: use text")
        name = storable(key)
        while name in plain:  # keys that differ in nothing but lone surrogates: both values stay
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
