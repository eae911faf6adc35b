"""How a request body is laid out for reading: one line per field, nothing added, dropped or reordered.

The text is cut into tokens and never rebuilt from parsed values, so numbers, duplicate keys and the order of keys are
shown as they will be sent. Whether it is JSON or a form is the content type's word; any text comes out whole. A secret
is behind a word that opens it; where a text is too long for that, the word stands alone, and the page has the text as
it is sent as well.

What that costs is bounded by limits on lines and on characters, for the text is an agent's.
"""

from collections.abc import Iterator
from typing import NamedTuple

from django.utils.html import escape
from django.utils.safestring import SafeString

from agents.masking import without
from agents.reveal import reveal
from approvals.payload_kinds import Kind, secrets_in
from approvals.payload_rows import Row, coloured, rows_of, uncoloured

PLAIN_FROM = 64 * 1024  # characters; from here on a payload is shown in a box of its own, without numbers and colours
MOST_LINES = 5_000  # of one payload; beyond them it is shown as it is sent
_DEEPEST_INDENT = 20  # levels; deeper ones say their level in words


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
    is_masked: bool = False  # words stand in `text` for secrets that are not there


def lay_out(body: str, kind: Kind) -> Payload:
    """The whole of `body`, whatever it takes."""
    if len(body) < PLAIN_FROM:
        rows = _up_to(MOST_LINES, rows_of(body, kind, coloured))
        if rows is not None:
            return Payload(len(body), [Line(_indent(depth), html) for depth, html in rows], SafeString(""))
    elif body.count("\\n") <= MOST_LINES:
        rows = _up_to(MOST_LINES, rows_of(body, kind, uncoloured))
        if rows is not None:
            return Payload(len(body), [], SafeString("\n".join(f"{_indent(depth)}{html}" for depth, html in rows)))
    shown = without(body, secrets_in(body, kind))
    return Payload(len(body), [], _plain(shown), as_sent=True, is_masked=shown != body)


def lay_out_small(body: str, kind: Kind, *, most_lines: int) -> Payload | None:
    """The whole of `body`; None if that takes more lines."""
    rows = _up_to(most_lines, rows_of(body, kind, coloured))
    if rows is None:
        return None
    return Payload(len(body), [Line(_indent(depth), html) for depth, html in rows], SafeString(""))


def as_sent(body: str) -> Payload:
    """The characters of `body` and no others, revealed."""
    return Payload(len(body), [], _plain(body), as_sent=True)


def beginning(head: str, kind: Kind, *, length: int) -> Payload:
    """A text of `length` characters, of which only `head` is to be shown."""
    shown = without(head, secrets_in(head, kind))
    return Payload(length, [], _plain(shown), as_sent=True, is_cut=True, is_masked=shown != head)


def _up_to(most_lines: int, rows: Iterator[Row]) -> list[Row] | None:
    """All rows, None if they are more lines than that: then the rest is not even looked at."""
    taken, lines = [], 0
    for row in rows:
        # Many secrets on one line are as many as lines: each has markup, and a word to open it by.
        lines += max(1, row[1].count("<details")) + row[1].count("<br>") + row[1].count("\n")
        if lines > most_lines:
            return None
        taken.append(row)
    return taken


def _plain(text: str) -> SafeString:
    """As it is sent, revealed."""
    return SafeString("\n".join(escape(reveal(line)) for line in text.split("\n")))


def _indent(depth: int) -> str:
    return "  " * depth if depth <= _DEEPEST_INDENT else f"{'  ' * _DEEPEST_INDENT}(level {depth}) "
