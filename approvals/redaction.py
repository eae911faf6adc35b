"""A platform's answer without the credential that it was sent, however the platform spells it.

Only what is escaped by any usual encoder counts: letters, digits and -._~ stand for themselves, everything else may be
written as JSON, HTML or a URL writes it, each character in its own way. No pattern holds the credential, for compiled
patterns are kept by the interpreter.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import ceil

from platforms.client import PlatformResponse
from platforms.credentials import Auth

SHORTEST = 8  # characters; shorter ones turn up in answers by chance
REMOVED = b"[credential removed]"
LONGEST_WAIT = 7 * 24 * 3600  # seconds of a Retry-After; with its six digits it carries no credential

_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
_PARTS = re.compile(rf"{_PLAIN.pattern}|.", re.DOTALL)
_LONGEST_SPELLING = 64  # bytes of one character, its zeros and backslashes included
_NAMED = {"&": b"&amp;", "<": b"&lt;", ">": b"&gt;", '"': b"&quot;", "'": b"&apos;"}


def without_credential(auth: Auth, credential: str, response: PlatformResponse, *, now: datetime) -> PlatformResponse:
    """The answer with the credential taken out of its body, and of its headers nothing but a wait in whole seconds."""
    body = _removed(response.body, _forms(auth, credential))
    wait = _seconds(response.headers.get("retry-after", ""), now)
    headers = {} if wait is None else {"retry-after": str(wait)}
    if body == response.body and headers == response.headers:
        return response
    return replace(response, body=body, headers=headers)


def _forms(auth: Auth, credential: str) -> Iterator[str]:
    """What it may be repeated as: itself, its password, and what a header of basic carries."""
    secrets = {credential, credential.partition(":")[2]} if auth.type == "basic" else {credential}
    for secret in secrets:
        if len(secret) >= SHORTEST:
            yield secret
        encoded = b64encode(secret.encode()).decode()
        yield from (form for form in {encoded, encoded.rstrip("=")} if len(form) >= SHORTEST)


def _removed(body: bytes, forms: Iterator[str]) -> bytes:
    spans = sorted(span for form in forms for span in _spans(body, form))
    cleaned, done = bytearray(), 0
    for start, end in spans:
        if start >= done:
            cleaned += body[done:start] + REMOVED
        done = max(done, end)
    return bytes(cleaned + body[done:]) if spans else body


def _spans(body: bytes, secret: str) -> Iterator[tuple[int, int]]:
    """Where the secret is. Looked for by its longest plain part, from which the rest is read in both directions."""
    parts = _PARTS.findall(secret)
    anchor = max(range(len(parts)), key=lambda n: len(parts[n]) if _PLAIN.fullmatch(parts[n]) else 0)
    before, after = parts[:anchor][::-1], parts[anchor + 1 :]
    for start, end in _places(body, parts[anchor]):
        first: int | None = start
        last: int | None = end
        for part in after:
            last = _read_on(body, part, last) if last is not None else None
        for part in before:
            first = _read_back(body, part, first) if first is not None and last is not None else None
        if first is not None and last is not None:
            yield first, last


def _places(body: bytes, part: str) -> Iterator[tuple[int, int]]:
    if not _PLAIN.fullmatch(part):
        yield from (found.span() for found in _spelled(part, "").finditer(body))
        return
    text = part.encode()
    start = body.find(text)
    while start >= 0:
        yield start, start + len(text)
        start = body.find(text, start + 1)


def _read_on(body: bytes, part: str, at: int) -> int | None:
    if _PLAIN.fullmatch(part):
        return at + len(part) if body.startswith(part.encode(), at) else None
    found = _spelled(part, "").match(body, at)
    return found.end() if found else None


def _read_back(body: bytes, part: str, at: int) -> int | None:
    if _PLAIN.fullmatch(part):
        return at - len(part) if body.endswith(part.encode(), 0, at) else None
    found = _spelled(part, r"\Z").search(body, max(0, at - _LONGEST_SPELLING), at)
    return found.start() if found else None


@lru_cache(maxsize=512)
def _spelled(character: str, end: str) -> "re.Pattern[bytes]":
    """The usual spellings of one character that is not plain. The longest is tried first; JSON may travel in JSON."""
    units = character.encode("utf-16-be").hex()
    code = ord(character)
    spellings = [
        b"".join(rb"\\{1,4}u" + _any_case(units[n : n + 4]) for n in range(0, len(units), 4)),
        rb"&#0{0,6}%d;" % code,
        rb"&#[xX]0{0,6}" + _any_case(f"{code:x}") + b";",
        b"".join(b"%" + _any_case(f"{byte:02x}") for byte in character.encode()),
    ]
    if code < 256:
        spellings.append(rb"\\{1,4}x" + _any_case(f"{code:02x}"))
    if character in _NAMED:
        spellings.append(_NAMED[character])
    if character in "\"'/":
        spellings.append(rb"\\{1,4}" + character.encode())
    if character == "\\":
        spellings.append(rb"\\{2}")
    if character == " ":
        spellings.append(rb"\+")
    spellings.append(re.escape(character.encode()))
    return re.compile(b"(?:" + b"|".join(spellings) + b")" + end.encode())


def _any_case(digits: str) -> bytes:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits).encode()


def _seconds(retry_after: str, now: datetime) -> int | None:
    """RFC 9110 §10.2.3: seconds or a date. None for anything else: it is a platform's word and goes to agents."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(int(retry_after), LONGEST_WAIT)
    try:
        wait = (parsedate_to_datetime(retry_after) - now).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):  # TypeError: a date without its zone
        return None
    return min(max(0, ceil(wait)), LONGEST_WAIT)
