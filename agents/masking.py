"""Secrets in what pages show: where they stand in a form or an address, and the word that they are behind.

Nothing is taken away: on a page the value is behind the word, in its place. It guards against eyes that pass by, no
more: a call with a stored credential or with a token of a well-known shape never gets as far as a page
(`platforms.leaks`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

from django.utils.safestring import SafeString

from agents.reveal import marked_html, pieces
from agents.secret_names import hides


class Secret(NamedTuple):
    """Where it stands in a text, and how many characters it has when it is decoded.

    One with `parts` is a text within the text: only they are secret, and they are counted in it when it is decoded.
    """

    start: int
    end: int
    length: int
    parts: "tuple[Secret, ...]" = ()


def said_masked(length: int) -> str:
    return f"masked, {length} character{'' if length == 1 else 's'}"


def masked_html(shown: SafeString, length: int) -> SafeString:
    """`shown`, of a secret of so many characters, behind a word that opens it."""
    return SafeString(f'<details class="masked"><summary>{said_masked(length)}</summary>{shown}</details>')


def in_form(text: str) -> Iterator[Secret]:
    """The secrets of name=value&name=value: values of fields that are called so, or are within one that is."""
    start = end = 0
    while end >= 0:
        end = text.find("&", start)
        name, sign, value = text[start : end if end >= 0 else None].partition("=")
        if value and hides(unquote_plus(name), value):
            yield Secret(start + len(name) + len(sign), start + len(name + sign + value), len(unquote_plus(value)))
        start = end + 1


def in_address(text: str) -> Iterator[Secret]:
    """The secrets among the parameters of a URL, or of a path with its query."""
    _, sign, query = text.partition("?")
    at = len(text) - len(query)
    return (Secret(one.start + at, one.end + at, one.length) for one in (in_form(query) if sign else ()))


def without(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with words for them: no markup, and no way back."""
    shown, done = [], 0
    for one in secrets:
        shown += [text[done : one.start], f"({said_masked(one.length)})"]
        done = one.end
    return "".join([*shown, text[done:]])


def revealed(text: str, secrets: Iterable[Secret]) -> SafeString:
    """`text` on one line as `reveal_html` shows it, the secrets behind words."""
    return SafeString(f"<bdi>{marked(text, secrets)}</bdi>")


def marked(text: str, secrets: Iterable[Secret]) -> SafeString:
    """The same without isolation from what is around it."""
    html, done = [], 0
    for one in secrets:
        html.append(marked_html(pieces(text[done : one.start])))
        html.append(masked_html(SafeString(f"<bdi>{marked_html(pieces(text[one.start : one.end]))}</bdi>"), one.length))
        done = one.end
    return SafeString("".join([*html, marked_html(pieces(text[done:]))]))
