"""The members of a JSON object with their own text: what is parsed and what is sent, side by side."""

import json
from typing import Any, NamedTuple

MOST_MEMBERS = 100  # of one object


class Member(NamedTuple):
    value: Any
    raw: str  # as it stands in the text


def members_of(text: str) -> dict[str, Member] | None:
    """In their order; None if the text is no object, has more members, or has a name twice at any depth.

    Raises:
        ValueError, IndexError, RecursionError: it is broken, too deep or empty.
    """
    decoder, found = json.JSONDecoder(object_pairs_hook=_once), dict[str, Member]()
    at = _skip(text, 0)
    if text[at] != "{":
        return None
    while text[at] != "}" and len(found) <= MOST_MEMBERS:
        name, at = decoder.raw_decode(text, _skip(text, at + 1))
        at = _skip(text, at)
        if not isinstance(name, str) or name in found or text[at] != ":":
            return None
        start = _skip(text, at + 1)
        value, at = decoder.raw_decode(text, start)
        found[name] = Member(value, text[start:at])
        at = _skip(text, at)
        if text[at] not in ",}":
            return None
    return found if text[at] == "}" and not text[at + 1 :].strip() else None


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the same name twice")
    return found
