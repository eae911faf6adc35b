"""How a request body is laid out for reading: one line per field, nothing added, dropped or reordered.

The text is cut into tokens and never rebuilt from parsed values, so numbers, duplicate keys and the order of keys are
shown as they will be sent.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from django.utils.html import escape
from django.utils.safestring import SafeString

from agents.reveal import marked_html, pieces

SUMMARY_LENGTH = 140  # characters of a payload on the closed card
PLAIN_FROM = 64 * 1024  # characters; from here on a payload is shown in a box of its own, without line numbers
_DEEPEST_INDENT = 20  # levels; deeper ones say their level in words
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_SPECIAL = re.compile(r"[\b\t\n\f\r]")


class Line(NamedTuple):
    """One numbered line of a payload: `html` is escaped and revealed."""

    indent: str
    html: SafeString


class Payload(NamedTuple):
    """A request body, ready for a template. `lines` is empty for a long one, which has `text` instead."""

    length: int  # characters
    is_json: bool
    lines: list[Line]
    text: SafeString


def lay_out(body: str) -> Payload:
    """The whole of `body` for the opened card."""
    is_json = _is_json(body)
    rows = _json_rows(body) if is_json else _text_rows(body)
    if len(body) < PLAIN_FROM:
        return Payload(len(body), is_json, [Line(_indent(depth), html) for depth, html in rows], SafeString(""))
    text = SafeString("\n".join(f"{_indent(depth)}{html}" for depth, html in rows))
    return Payload(len(body), is_json, [], text)


def first_line(body: str) -> tuple[str, bool]:
    """The beginning of `body` on one line, not yet revealed, and whether that is less than all of it."""
    if not _is_json(body):
        line = body.split("\n", 1)[0][:SUMMARY_LENGTH]
        return line, len(line) < len(body)
    shown = ""
    for symbol in _TOKEN.findall(body):
        if symbol.startswith('"'):
            shown += f'"{_SPECIAL.sub(_escape, _quoted(json.loads(symbol)))}"'
        else:
            shown += f"{symbol} " if symbol in {",", ":"} else symbol
        if len(shown) > SUMMARY_LENGTH:
            return shown[:SUMMARY_LENGTH], True
    return shown, False


def _is_json(body: str) -> bool:
    try:
        json.loads(body, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _text_rows(body: str) -> Iterator[tuple[int, SafeString]]:
    for line in body.split("\n"):
        yield 0, marked_html(pieces(line))


def _json_rows(body: str) -> Iterator[tuple[int, SafeString]]:
    depth, row = 0, ""
    symbols = _TOKEN.findall(body)
    for at, symbol in enumerate(symbols):
        following = symbols[at + 1] if at + 1 < len(symbols) else ""
        if symbol in {"{", "["}:
            row += symbol
            if following not in {"}", "]"}:
                yield depth, SafeString(row)
                depth, row = depth + 1, ""
        elif symbol in {"}", "]"}:
            if symbols[at - 1] not in {"{", "["}:
                yield depth, SafeString(row)
                depth, row = depth - 1, ""
            row += symbol
        elif symbol == ",":
            yield depth, SafeString(row + symbol)
            row = ""
        elif symbol == ":":
            row += ": "
        elif symbol.startswith('"'):
            row += _string(json.loads(symbol), kind="key" if following == ":" else "string")
        else:
            row += f'<span class="json-literal">{escape(symbol)}</span>'
    yield depth, SafeString(row)


def _string(value: str, *, kind: str) -> str:
    """A JSON string with its marks. A line break stays an escape; what follows goes on below it, unnumbered."""
    parts = (marked_html(_string_pieces(part)) for part in value.split("\n"))
    inner = '<span class="codepoint">\\n</span><br>'.join(parts)
    return f'<bdi class="json-{kind}">&quot;{inner}&quot;</bdi>'


def _string_pieces(value: str) -> Iterator[tuple[bool, str]]:
    done = 0
    for found in _SPECIAL.finditer(value):
        yield from pieces(_quoted(value[done : found.start()]))
        yield True, _escape(found)
        done = found.end()
    yield from pieces(_quoted(value[done:]))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES[found.group()]


def _indent(depth: int) -> str:
    return "  " * depth if depth <= _DEEPEST_INDENT else f"{'  ' * _DEEPEST_INDENT}(level {depth}) "
