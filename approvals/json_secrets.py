"""Where secrets stand in a JSON text: the one walk by which pages mask bodies, answers, summaries and comparisons.

Every value under the name of a secret is one, with all that is in it. `null`, `true` and `false` tell nothing, and
stay in sight. Any text is walked, sound or not: what is not closed goes on to the end. No character is looked at more
than a few times, whatever the text is.
"""

import json
import re
from collections.abc import Iterator

from agents.masking import Secret
from agents.secret_names import is_count, is_secret
from approvals.graphql_secrets import in_graphql

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'  # the last one may lack its end
_NAME = re.compile(rf"({_STRING})[ \t\n\r]*+(:)?", re.DOTALL)
_BESIDE = re.compile(rf"{_STRING}|[{{}}\[\],]", re.DOTALL)  # what can end a value, or open one
_WITHIN = re.compile(rf"{_STRING}|[{{}}\[\]]", re.DOTALL)
_SCALAR = re.compile(rf'[ \t\n\r]*+({_STRING}|[^ \t\n\r{{}}\[\],:"]*+)(?=[ \t\n\r]*+[,}}\]])', re.DOTALL)
_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"
_SPACES = re.compile(f"[{_SPACE}]*+")
_OPENING, _CLOSING = frozenset({"{", "["}), frozenset({"}", "]", ","})
_OPEN = frozenset({"null", "true", "false", ""})


def in_json(text: str) -> Iterator[Secret]:
    """In their order, none within another; those of a GraphQL query with `parts`."""
    done: int | None = 0
    while done is not None:
        for found in _NAME.finditer(text, done):
            if found[2] and (one := _value_behind(text, found)):
                if one.length:
                    yield one
                done = one.end
                break
        else:
            done = None


def _value_behind(text: str, name_found: re.Match[str]) -> Secret | None:
    """What is secret there; of no length if the name is one of a secret, and the value tells nothing."""
    raw = name_found[1]
    name = value_of(raw) if "\\" in raw else raw[1:-1]
    if name == "query":
        return _query(text, name_found.end())
    if name is None or not is_secret(name):
        return None
    start, end = _extent(text, name_found.end())
    value = text[start:end]
    if value in _OPEN or is_count(name, value):
        return Secret(start, end, 0)
    sound = value_of(value)
    return Secret(start, end, len(value) if sound is None else len(sound))


def value_of(symbol: str) -> str | None:
    """What a token stands for if it is a sound JSON string."""
    if not symbol.startswith('"'):
        return None
    try:
        value, end = _DECODER.raw_decode(symbol)
    except ValueError:
        return None
    return str(value) if end == len(symbol) else None


def _extent(text: str, at: int) -> tuple[int, int]:
    """Of the value that begins there: up to the comma, or to the end of what it is in."""
    if scalar := _SCALAR.match(text, at):  # nearly all of them
        return scalar.span(1)
    start = end = _skip(text, at)
    while found := _BESIDE.search(text, end):
        if found[0] in _CLOSING:
            return start, start + len(text[start : found.start()].rstrip(_SPACE))
        end = _closed(text, found.start()) if found[0] in _OPENING else found.end()
    return start, len(text)


def _closed(text: str, at: int) -> int:
    """Where the list or the object ends that begins there."""
    depth = 0
    for found in _WITHIN.finditer(text, at):
        if found[0] in _OPENING:
            depth += 1
        elif found[0] in _CLOSING:
            depth -= 1
            if not depth:
                return found.end()
    return len(text)


def _query(text: str, at: int) -> Secret | None:
    found = _NAME.match(text, _skip(text, at))
    value = value_of(found[1]) if found else None
    parts = tuple(in_graphql(value)) if value is not None else ()
    return Secret(found.start(), found.end(1), len(value or ""), parts) if found and parts else None


def _skip(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at
