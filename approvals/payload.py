"""How a request body is laid out for reading: one line per field, nothing added, dropped or reordered.

The text is cut into tokens and never rebuilt from parsed values, so numbers, duplicate keys and the order of keys are
shown as they will be sent. Whether it is JSON or a form is the content type's word; any text comes out whole. The value
of a field that holds a secret is behind a word that opens it.

What that costs is bounded by limits on lines and on characters, for the text is an agent's.
"""

import json
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import chain, pairwise
from typing import NamedTuple
from urllib.parse import unquote_plus

from django.utils.html import escape
from django.utils.safestring import SafeString

from agents.reveal import marked_html, pieces, reveal
from approvals.masking import is_secret, masked_html, said_masked

SUMMARY_LENGTH = 140  # characters of a payload on the closed card
PLAIN_FROM = 64 * 1024  # characters; from here on a payload is shown in a box of its own, without numbers and colours
MOST_LINES = 5_000  # of one payload; beyond them it is shown as it is sent
_DEEPEST_INDENT = 20  # levels; deeper ones say their level in words
# Strings (the last one may lack its end), punctuation, and everything else that is not JSON's white space. Every
# character of any text is in one of them, and none is looked at twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\],:]|[^ \t\n\r{}\[\],:"]++', re.DOTALL)
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_SPECIAL = re.compile(r"[\b\t\n\f\r]")
_BREAK = "\\n\n│ "  # a line break inside a value, where lines have no numbers: no field begins with this bar

_ShowString = Callable[[str, str], str]  # a value; "key", "string" or "secret" → HTML
_Row = tuple[int, SafeString]  # depth, HTML


class Line(NamedTuple):
    """One numbered line of a payload: `html` is escaped and revealed."""

    indent: str
    html: SafeString


class Payload(NamedTuple):
    """A text, ready for a template. `lines` is empty for a long one, which has `text` instead."""

    length: int  # characters
    lines: list[Line]
    text: SafeString
    as_sent: bool = False  # too many lines to lay it out
    is_cut: bool = False


class Kind(StrEnum):
    JSON = "json"
    FORM = "form"
    TEXT = "text"


def kind_of(content_type: str) -> Kind:
    name = content_type.partition(";")[0].strip().lower()
    return {"application/json": Kind.JSON, "application/x-www-form-urlencoded": Kind.FORM}.get(name, Kind.TEXT)


def lay_out(body: str, kind: Kind) -> Payload:
    """The whole of `body`, whatever it takes."""
    if len(body) < PLAIN_FROM:
        rows = _up_to(MOST_LINES, _rows(body, kind, _coloured))
        if rows is not None:
            return Payload(len(body), [Line(_indent(depth), html) for depth, html in rows], SafeString(""))
    elif body.count("\\n") <= MOST_LINES:
        rows = _up_to(MOST_LINES, _rows(body, kind, _uncoloured))
        if rows is not None:
            return Payload(len(body), [], SafeString("\n".join(f"{_indent(depth)}{html}" for depth, html in rows)))
    return as_sent(body)


def lay_out_small(body: str, kind: Kind, *, most_lines: int) -> Payload | None:
    """The whole of `body`; None if that takes more lines."""
    rows = _up_to(most_lines, _rows(body, kind, _coloured))
    if rows is None:
        return None
    return Payload(len(body), [Line(_indent(depth), html) for depth, html in rows], SafeString(""))


def as_sent(body: str) -> Payload:
    """The characters of `body` and no others, revealed."""
    return Payload(len(body), [], _plain(body), as_sent=True)


def beginning(head: str, *, length: int) -> Payload:
    """A text of `length` characters, of which only `head` is to be shown."""
    return Payload(length, [], _plain(head), as_sent=True, is_cut=True)


def first_line(body: str, kind: Kind) -> tuple[str, bool]:
    """The beginning of `body` on one line, not yet revealed, and whether that is less than all of it."""
    if kind == Kind.FORM:
        head = body[: 4 * SUMMARY_LENGTH]
        shown = "&".join(map(_masked_field, _split(head, "&")))
        return shown[:SUMMARY_LENGTH], len(head) < len(body) or len(shown) > SUMMARY_LENGTH
    if kind == Kind.TEXT:
        line = body[: SUMMARY_LENGTH + 1].partition("\n")[0][:SUMMARY_LENGTH]
        return line, len(line) < len(body)
    shown, name, before = "", "", ""
    for found in _TOKEN.finditer(body):
        symbol = found.group()
        value = _value_of(symbol)
        if value is not None and before == ":" and is_secret(name):
            shown += f"({said_masked(len(value))})"
        elif value is not None:
            name = value
            shown += f'"{_SPECIAL.sub(_escape, _quoted(value[: SUMMARY_LENGTH + 1]))}"'
        else:
            shown += f"{symbol} " if symbol in {",", ":"} else symbol[: SUMMARY_LENGTH + 1]
        if len(shown) > SUMMARY_LENGTH:
            return shown[:SUMMARY_LENGTH], True
        before = symbol
    return shown, False


def _up_to(most_lines: int, rows: Iterator[_Row]) -> list[_Row] | None:
    """All rows, None if they are more lines than that: then the rest is not even looked at."""
    taken, lines = [], 0
    for row in rows:
        lines += 1 + row[1].count("<br>") + row[1].count("\n")
        if lines > most_lines:
            return None
        taken.append(row)
    return taken


def _rows(body: str, kind: Kind, show: _ShowString) -> Iterator[_Row]:
    match kind:
        case Kind.JSON:
            return _json_rows(body, show)
        case Kind.FORM:
            return _form_rows(body, show)
    return _text_rows(body)


def _form_rows(body: str, show: _ShowString) -> Iterator[_Row]:
    """https://url.spec.whatwg.org/#urlencoded-parsing, and what is no UTF-8 as U+FFFD."""
    for field in _split(body, "&"):
        name, sign, value = field.partition("=")
        row = show(unquote_plus(name), "key")
        if sign:
            row += " = " + show(unquote_plus(value), "secret" if is_secret(unquote_plus(name)) else "string")
        yield 0, SafeString(row)


def _masked_field(field: str) -> str:
    name, sign, value = field.partition("=")
    return f"{name}=({said_masked(len(unquote_plus(value)))})" if sign and is_secret(unquote_plus(name)) else field


def _text_rows(body: str) -> Iterator[_Row]:
    return ((0, marked_html(pieces(line))) for line in _split(body, "\n"))


def _split(text: str, by: str) -> Iterator[str]:
    """As `str.split` does, one part at a time."""
    start = end = 0
    while end >= 0:
        end = text.find(by, start)
        yield text[start : end if end >= 0 else None]
        start = end + 1


def _json_rows(body: str, show: _ShowString) -> Iterator[_Row]:
    depth, row, before, name = 0, "", "", ""
    for symbol, following in pairwise(chain((found.group() for found in _TOKEN.finditer(body)), [""])):
        if symbol in {"{", "["}:
            row += symbol
            if following not in {"}", "]"}:
                yield depth, SafeString(row)
                depth, row = depth + 1, ""
        elif symbol in {"}", "]"}:
            if before not in {"{", "["}:
                yield depth, SafeString(row)
                depth, row = depth - 1, ""
            row += symbol
        elif symbol == ",":
            yield depth, SafeString(row + symbol)
            row = ""
        elif symbol == ":":
            row += ": "
        elif (value := _value_of(symbol)) is not None and following == ":":
            row, name = row + show(value, "key"), value
        elif value is not None:
            row += show(value, "secret" if before == ":" and is_secret(name) else "string")
        else:
            row += f'<span class="json-literal">{marked_html(pieces(symbol))}</span>'
        before = symbol
    yield depth, SafeString(row)


def _value_of(symbol: str) -> str | None:
    """What a token stands for if it is a sound JSON string."""
    if not symbol.startswith('"'):
        return None
    try:
        return str(json.loads(symbol))
    except ValueError:
        return None


def _coloured(value: str, kind: str) -> str:
    """A JSON string with its marks. A line break stays an escape; what follows goes on below it, unnumbered."""
    parts = (marked_html(_string_pieces(part)) for part in value.split("\n"))
    inner = '<span class="codepoint">\\n</span><br>'.join(parts)
    if kind == "secret":
        return masked_html(SafeString(f'<bdi class="json-string">&quot;{inner}&quot;</bdi>'), len(value))
    return f'<bdi class="json-{kind}">&quot;{inner}&quot;</bdi>'


def _uncoloured(value: str, kind: str) -> str:
    """The same without markup for marks, which would be many times as long as the text."""
    parts = (escape("".join(text for _, text in _string_pieces(part))) for part in value.split("\n"))
    return f"<bdi>&quot;{_BREAK.join(parts)}&quot;</bdi>"


def _plain(text: str) -> SafeString:
    """As it is sent, revealed."""
    return SafeString("\n".join(escape(reveal(line)) for line in text.split("\n")))


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
