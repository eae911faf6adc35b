"""The lines of a payload: the text is cut into tokens and never rebuilt from parsed values."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from urllib.parse import unquote_plus

from django.utils.html import escape
from django.utils.safestring import SafeString

from agents.masking import Secret, marked, masked_html
from agents.reveal import marked_html, pieces
from agents.secret_names import hides
from approvals.json_secrets import in_json, value_of
from approvals.payload_kinds import Kind, secrets_in

# Strings (the last one may lack its end), punctuation, and everything else that is not JSON's white space. Every
# character of any text is in one of them, and none is looked at twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\],:]|[^ \t\n\r{}\[\],:"]++', re.DOTALL)
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_SPECIAL = re.compile(r"[\b\t\n\f\r]")
_BREAK = "\\n\n│ "  # a line break inside a value, where lines have no numbers: no field begins with this bar
_NO_MORE = Secret(sys.maxsize, sys.maxsize, 0)
_SAYS_NOTHING = frozenset({"null", "true", "false"})

Show = Callable[[str], str]  # what stands between the quotes of a string → HTML
Row = tuple[int, SafeString]  # depth, HTML


def rows_of(body: str, kind: Kind, show: Show) -> Iterator[Row]:
    match kind:
        case Kind.JSON:
            return _json_rows(body, show)
        case Kind.FORM:
            return _form_rows(body, show)
    return _text_rows(body, secrets_in(body, kind))


def json_tokens(body: str) -> Iterator[tuple[str, str, Secret | None]]:
    """Every token, the one after it ("" for none), and the secret that it is a part of."""
    secrets = chain(in_json(body), repeat(_NO_MORE))
    secret = next(secrets)
    tokens = _TOKEN.finditer(body)
    found = next(tokens, None)
    while found is not None:
        while secret.end <= found.start():
            secret = next(secrets)
        after = next(tokens, None)
        yield found[0], after[0] if after else "", secret if secret.start <= found.start() else None
        found = after


def _form_rows(body: str, show: Show) -> Iterator[Row]:
    """https://url.spec.whatwg.org/#urlencoded-parsing, and what is no UTF-8 as U+FFFD."""
    for field in _split(body, "&"):
        name, sign, value = field.partition("=")
        row: list[str] = [_string(unquote_plus(name), "key", show)]
        if sign:
            shown = unquote_plus(value)
            string = _string(shown, "string", show)
            row += [" = ", masked_html(string, len(shown)) if value and hides(unquote_plus(name), value) else string]
        yield 0, _joined(row)


def _text_rows(body: str, secrets: Iterator[Secret]) -> Iterator[Row]:
    start, secrets = 0, chain(secrets, repeat(_NO_MORE))
    secret = next(secrets)
    for line in _split(body, "\n"):
        end, within = start + len(line), []
        while secret.start < end:
            first, last = max(secret.start, start) - start, min(secret.end, end) - start
            if first < last:
                within.append(Secret(first, last, last - first))
            if secret.end > end:  # it goes on in the next line
                break
            secret = next(secrets)
        yield 0, marked(line, within)
        start = end + 1


def _split(text: str, by: str) -> Iterator[str]:
    """As `str.split` does, one part at a time."""
    start = end = 0
    while end >= 0:
        end = text.find(by, start)
        yield text[start : end if end >= 0 else None]
        start = end + 1


def _json_rows(body: str, show: Show) -> Iterator[Row]:
    depth, before = 0, ""
    row: list[str] = []  # joined once: adding to a text copies it, and one row may be all of the body
    for symbol, after, secret in json_tokens(body):
        if symbol in {"{", "["}:
            row.append(symbol)
            if after not in {"}", "]"}:
                yield depth, _joined(row)
                depth, row = depth + 1, []
        elif symbol in {"}", "]"}:
            if before not in {"{", "["}:
                yield depth, _joined(row)
                depth, row = depth - 1, []
            row.append(symbol)
        elif symbol == ",":
            yield depth, _joined([*row, symbol])
            row = []
        elif symbol == ":":
            row.append(": ")
        elif (value := value_of(symbol)) is not None and after == ":":
            row.append(_string(value, "key", show))
        else:
            parts = secret.parts if secret else ()
            shown = _literal(symbol) if value is None else _string(value, "string", show, parts)
            hidden = secret is not None and not parts and symbol not in _SAYS_NOTHING
            row.append(masked_html(shown, len(symbol if value is None else value)) if hidden else shown)
        before = symbol
    yield depth, _joined(row)


def _joined(row: list[str]) -> SafeString:
    """Of what is escaped already."""
    return SafeString("".join(row))


def _literal(symbol: str) -> SafeString:
    return SafeString(f'<span class="json-literal">{marked_html(pieces(symbol))}</span>')


def _string(value: str, what: str, show: Show, secrets: Iterable[Secret] = ()) -> SafeString:
    html: list[str] = []
    done = 0
    for one in secrets:
        secret = SafeString(f"<bdi>{show(value[one.start : one.end])}</bdi>")
        html += [show(value[done : one.start]), masked_html(secret, one.length)]
        done = one.end
    attribute = f' class="json-{what}"' if show is coloured else ""
    return SafeString(f"<bdi{attribute}>&quot;{_joined(html)}{show(value[done:])}&quot;</bdi>")


def coloured(text: str) -> str:
    """A part of a JSON string with its marks. A line break stays an escape; what follows goes on below, unnumbered."""
    return '<span class="codepoint">\\n</span><br>'.join(marked_html(_pieces(part)) for part in text.split("\n"))


def uncoloured(text: str) -> str:
    """The same without markup for marks, which would be many times as long as the text."""
    return _BREAK.join(escape("".join(piece for _, piece in _pieces(part))) for part in text.split("\n"))


def _pieces(value: str) -> Iterator[tuple[bool, str]]:
    done = 0
    for found in _SPECIAL.finditer(value):
        yield from pieces(_quoted(value[done : found.start()]))
        yield True, _ESCAPES[found[0]]
        done = found.end()
    yield from pieces(_quoted(value[done:]))


def escaped(text: str) -> str:
    """As it stands in a JSON string."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], _quoted(text))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
