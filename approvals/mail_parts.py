"""A whole e-mail message taken apart, where every program takes it apart alike; anything else is not for certain.

Python's own parser is made to find something in whatever it is given, and takes seconds for some messages of a few
kilobytes. This one knows the plain forms of RFC 5322 and RFC 2045 to 2047 only, refuses the rest, and looks at each
character a fixed number of times.
"""

import re
from base64 import b64decode
from binascii import a2b_qp
from typing import NamedTuple

MOST_PARTS = 20
DEEPEST = 4  # multiparts in each other
MOST_HEADERS = 60  # of the message or of one part
LONGEST_HEADERS = 8 * 1024  # bytes, of the message or of one part
LONGEST_HEADER = 2 * 1024

PEOPLE = ("from", "sender", "reply-to", "to", "cc", "bcc")
_ONCE = {*PEOPLE, "subject", "date", "message-id", "mime-version"}  # RFC 5322, section 3.6
_OF_CONTENT = {"content-type", "content-transfer-encoding", "content-disposition"}
_ALSO_ADDRESSED = re.compile(r"resent-.*|apparently-to")
_ALPHABET = str.maketrans("-_", "+/")
_BEGINS_AS_MAIL = re.compile(rb"(?:\A|[\r\n])(?:from|sender|reply-to|to|cc|bcc|subject)[ \t]*:", re.IGNORECASE)
_HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*)", re.DOTALL)

_TEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]++"
_QUOTED = r'"[^"\\@<>;:\x00-\x1f\x7f]*+"'
_WORD = rf"(?:{_TEXT}|{_QUOTED})"
_ADDRESS = rf"(?!=\?){_TEXT}@[A-Za-z0-9.\-]++"
_PERSON = re.compile(rf"{_ADDRESS}|(?:{_WORD}(?: ++{_WORD})* *+)?<{_ADDRESS}>")
_COMMA = re.compile(r'([^",]*+(?:"[^"]*+"[^",]*+)*)(?:,|\Z)')
_ENCODED = re.compile(r"=\?([A-Za-z0-9\-]++)\?([bBqQ])\?([!->@-~]*+)\?=")
_BETWEEN_ENCODED = re.compile(r"(?<=\?=) +(?==\?)")
_NOT_IN_NAMES = re.compile(r"[@<>,;:\x00-\x1f\x7f]")

_PARAMETER = re.compile(r';[ \t]*+([A-Za-z0-9\-]++)=(?:([A-Za-z0-9!#$%&\'*+\-.^_`{|}~]++)|"([^"\\]*+)")[ \t]*+')
_CONTENT_TYPE = re.compile(r"([a-z0-9\-]+)/([a-z0-9.+\-]+)")
_CHARSET = re.compile(r"us-ascii|utf-8|iso-8859-(?:[1-9]|1[0-6])|windows-125[0-8]")
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,\-./:=?]{1,70}")
_BROKEN_QP = re.compile(rb"=(?![0-9A-Fa-f]{2}|\n)|[^\t\n -~]")


class Uncertain(ValueError):
    """Programs may differ in what this message is."""


class Header(NamedTuple):
    name: str  # as it is spelt
    text: str  # unfolded, as it stands
    decoded: str  # the same with its encoded words decoded


class Part(NamedTuple):
    """What is no multipart: a text, or a file."""

    content_type: str
    file_name: str
    data: bytes
    text: str | None  # None for a file


class Mail(NamedTuple):
    headers: list[Header]  # of people and the subject, in their order
    others: list[str]  # the names of all other headers, of the parts, too
    parts: list[Part]


def begins_as_mail(text: str) -> bool:
    """Whether it is one for a program that skips what is not base64."""
    letters = re.sub(r"[^A-Za-z0-9+/]", "", text[: 2 * LONGEST_HEADERS].translate(_ALPHABET))
    return _BEGINS_AS_MAIL.search(b64decode(letters[: len(letters) // 4 * 4])) is not None


def take_apart(text: str) -> Mail:
    """A message in base64 of either alphabet. Raises Uncertain."""
    text = re.sub(r"[\r\n]", "", text).rstrip("=").translate(_ALPHABET)
    if not text.isascii():
        raise Uncertain("base64")
    data = _from_base64((text + "=" * (-len(text) % 4)).encode()).replace(b"\r\n", b"\n")
    if b"\r" in data or b"\0" in data:
        raise Uncertain("ends of lines")
    lines, content = _headers(data)
    shown = [_shown(name, text) for name, text in lines if name.lower() in {*PEOPLE, "subject"}]
    others = [name for name, _ in lines if name.lower() not in {*PEOPLE, "subject"}]
    parts: list[Part] = []
    _take_parts(lines, content, parts, others, depth=0)
    return Mail(shown, list(dict.fromkeys(others)), parts)


def _headers(data: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """The unfolded header lines, and what is below them."""
    if data.startswith(b"\n"):
        return [], data[1:]
    end = data.find(b"\n\n", 0, LONGEST_HEADERS + 2)
    if end < 0 and len(data) > LONGEST_HEADERS:
        raise Uncertain("too long headers")
    head, content = (data[:end], data[end + 2 :]) if end >= 0 else (data.removesuffix(b"\n"), b"")
    if not head.isascii():
        raise Uncertain("headers that are not ASCII")
    found, seen = list[tuple[str, str]](), set[str]()
    for line in re.sub(r"\n[ \t]+(?=[^ \t\n])", " ", head.decode()).split("\n"):
        header = _HEADER.fullmatch(line)
        if header is None or len(line) > LONGEST_HEADER or len(found) == MOST_HEADERS:
            raise Uncertain("a header")
        name, text = header[1], header[2].replace("\t", " ").strip(" ")
        key = name.lower()
        if (key in seen and key in _ONCE | _OF_CONTENT) or _ALSO_ADDRESSED.fullmatch(key):
            raise Uncertain(f"{key} in several places")
        if key == "mime-version" and text != "1.0":
            raise Uncertain("version of MIME")
        seen.add(key)
        found.append((name, text))
    return found, content


def _shown(name: str, text: str) -> Header:
    """A header of people or the subject. Of people everything is a plain list, and no name looks like an address."""
    for found in _ENCODED.finditer(text):
        if name.lower() != "subject" and _NOT_IN_NAMES.search(_encoded_word(found)):
            raise Uncertain("an address in a name")
    decoded = _ENCODED.sub(_encoded_word, _BETWEEN_ENCODED.sub("", text))
    if "=?" in _ENCODED.sub("", text):
        raise Uncertain("encoded words")
    if name.lower() != "subject" and not all(_PERSON.fullmatch(person) for person in _people(text)):
        raise Uncertain("addresses")
    return Header(name, text, decoded)


def _people(text: str) -> list[str]:
    people, at = [], 0
    while (found := _COMMA.match(text, at)) is not None:
        people.append(found[1].strip(" "))
        if found.end() == len(text) and not found[0].endswith(","):
            return people
        at = found.end()
    raise Uncertain("addresses")


def _encoded_word(found: re.Match[str]) -> str:
    """RFC 2047."""
    text = found[3].encode()
    if found[2] in "bB":
        return _in_charset(_from_base64(text), found[1])
    if re.search(rb"=(?![0-9A-Fa-f]{2})", text):
        raise Uncertain("encoded words")
    return _in_charset(a2b_qp(text, header=True), found[1])


def _take_parts(
    lines: list[tuple[str, str]], content: bytes, parts: list[Part], others: list[str], *, depth: int
) -> None:
    named = {name.lower(): text for name, text in lines}
    kind, parameters = _value_of(named.get("content-type", "text/plain"))
    if _CONTENT_TYPE.fullmatch(kind) is None:
        raise Uncertain("a content type")
    encoding = named.get("content-transfer-encoding", "7bit").lower()
    if not kind.startswith("multipart/"):
        if kind.startswith("message/") or len(parts) == MOST_PARTS:
            raise Uncertain("a message in the message, or too many parts")
        parts.append(_part(kind, parameters, named.get("content-disposition"), _decoded(content, encoding)))
        return
    boundary = parameters.get("boundary", "")
    if kind not in {"multipart/mixed", "multipart/alternative", "multipart/related"} or depth == DEEPEST:
        raise Uncertain("a multipart")
    if encoding not in {"7bit", "8bit", "binary"} or not _BOUNDARY.fullmatch(boundary):
        raise Uncertain("a multipart")
    for piece in _pieces(content, b"--" + boundary.encode()):
        inner, below = _headers(piece)
        others += [name for name, _ in inner if name.lower() not in _OF_CONTENT]
        _take_parts(inner, below, parts, others, depth=depth + 1)


def _pieces(content: bytes, mark: bytes) -> list[bytes]:
    """The parts of a multipart. Outside of them, before and after, nothing may stand."""
    pieces: list[list[bytes]] = [[]]
    is_over = False
    for line in content.split(b"\n"):
        if not line.startswith(mark):
            pieces[-1].append(line)
        elif is_over or line not in {mark, mark + b"--"} or len(pieces) > MOST_PARTS + 1:
            raise Uncertain("a boundary")
        else:
            is_over = line != mark
            pieces.append([])
    if not is_over or len(pieces) < 3 or any(b"".join(outside).strip() for outside in (pieces[0], pieces[-1])):
        raise Uncertain("a boundary")
    return [b"\n".join(piece) for piece in pieces[1:-1]]


def _part(kind: str, parameters: dict[str, str], disposition: str | None, data: bytes) -> Part:
    how, about = _value_of(disposition) if disposition is not None else ("inline", dict[str, str]())
    names = {one for one in (parameters.get("name"), about.get("filename")) if one is not None}
    if how not in {"inline", "attachment"} or len(names) > 1 or any("=?" in name for name in names):
        raise Uncertain("a file")
    is_text = kind.startswith("text/") and how == "inline" and not names
    charset = parameters.get("charset", "us-ascii")
    return Part(kind, "".join(names), data, _in_charset(data, charset) if is_text else None)


def _value_of(header: str) -> tuple[str, dict[str, str]]:
    """A value and its parameters. Those of RFC 2231, in pieces or in a charset of their own, are not for certain."""
    value, at, found = header.partition(";")[0], 0, dict[str, str]()
    at = len(value)
    while at < len(header):
        parameter = _PARAMETER.match(header, at)
        if parameter is None or parameter[1].lower() in found:
            raise Uncertain("a parameter")
        found[parameter[1].lower()] = parameter[3] if parameter[2] is None else parameter[2]
        at = parameter.end()
    return value.strip(" ").lower(), found


def _decoded(content: bytes, encoding: str) -> bytes:
    match encoding:
        case "7bit" | "8bit" | "binary":
            return content
        case "base64":
            return _from_base64(content.replace(b"\n", b""))
        case "quoted-printable" if not _BROKEN_QP.search(content):
            return a2b_qp(content)
    raise Uncertain("a transfer encoding")


def _from_base64(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Uncertain("base64") from error


def _in_charset(data: bytes, charset: str) -> str:
    """Python knows many more, and some that no mail program has."""
    if not _CHARSET.fullmatch(charset.lower()):
        raise Uncertain("a charset")
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError) as error:
        raise Uncertain("a charset") from error
