"""What a request body comes to, where its shape is known: a GraphQL query, an e-mail, a file.

A reading stands beside the whole body and never in its place. It tells which fields it does not speak of, and there is
none where the body could be understood in two ways.
"""

import hashlib
import json
import logging
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from django.utils.safestring import SafeString

from agents.masking import masked_html, revealed
from agents.reveal import reveal_html
from agents.secret_names import is_secret
from approvals.graphql_secrets import is_graphql
from approvals.json_members import Member, members_of
from approvals.mail_parts import begins_as_mail, take_apart
from approvals.payload import PLAIN_FROM, Payload, beginning, lay_out_small
from approvals.payload_kinds import Kind, secrets_in

logger = logging.getLogger(__name__)

MOST_FACTS, MOST_TEXTS = 200, 20  # of one reading
READ_LINES = 200  # of one text within a reading
READ_FROM_LONG = 4_000  # characters of a text with more lines
NOT_FOR_CERTAIN = "It cannot be read for certain, so nothing of it is said here: look at the whole call."
IN_BASE64 = "It is in base64, and decoded where the whole call is opened."

_JOINTS = re.compile(r"[\s_-]")
_PEOPLE = {"from", "sender", "to", "torecipients", "cc", "ccrecipients", "bcc", "bccrecipients", "replyto"}
_TEXTS = {"text", "textbody", "html", "htmlbody", "body", "content", "plaintext"}
_FILE_NAMES = ("filename", "file_name", "fileName", "path")
_FILE_CONTENTS = ("content", "contents", "data", "file")
_FILE_TYPES = ("type", "filetype", "mime_type", "mimeType", "content_type", "contentType")
_GITHUB_FILE = re.compile(r"(?:/api/v3)?/repos/[^/]+/[^/]+/contents/(.+)")
_DATA_URL = re.compile(r"data:([^,;]*)(?:;[^,;]*)*;base64,")


class Fact(NamedTuple):
    name: SafeString
    value: SafeString


class Text(NamedTuple):
    name: SafeString
    payload: Payload
    label: str = ""  # its own among those of the page


class Reading(NamedTuple):
    """Ready for a template. `rest` are the fields of which the reading does not speak."""

    title: str
    facts: list[Fact]
    texts: list[Text]
    rest: list[SafeString]
    note: str = ""  # why there is nothing else
    opens: bool = False  # what the note speaks of is on the call's own page


def read(body: str, kind: Kind, *, method: str, url: str, decode: bool) -> list[Reading]:
    """What is known of the body's shape: one reading, or none. Whatever the body is, this does not fail.

    Without `decode` a shape in base64 is named and no more: that is for lists, which are drawn again and again.
    """
    if kind != Kind.JSON or len(body) >= PLAIN_FROM:
        return []
    try:
        members = members_of(body) or {}
        found = (
            _graphql(members)
            or _encoded_mail(members, decode=decode)
            or _mail(members)
            or _file(members, method, url, decode=decode)
        )
    except (ValueError, IndexError, RecursionError, AttributeError, TypeError) as error:  # the whole body is below
        logger.info("a body of %d characters cannot be read: %s", len(body), type(error).__name__)
        return []
    return [found] if found else []


def _graphql(members: dict[str, Member]) -> Reading | None:
    query = members.get("query")
    if query is None or not isinstance(query.value, str) or not is_graphql(query.value):
        return None
    texts = [_text("Query", query.value, Kind.GRAPHQL)]
    variables = members.get("variables")
    if variables is not None and variables.value:
        texts.append(_text("Variables", variables.raw, Kind.JSON))
    facts = [_fact(name, members[name]) for name in ("operationName",) if name in members]
    return _reading("GraphQL", facts, texts, members, {"query", "variables", "operationName"})


def _mail(members: dict[str, Member]) -> Reading | None:
    """Flat ones, and those of Microsoft Graph (`message`) and SendGrid (`personalizations`)."""
    inner = members.get("message")
    if inner is not None and isinstance(inner.value, dict):
        within = members_of(inner.raw) or {}
        if isinstance(within.get("message", Member(None, "")).value, dict):
            return None
        found = _mail(within)
        rest = [reveal_html(name) for name in members if name != "message"]
        return found._replace(rest=[*found.rest, *rest]) if found else None
    facts, texts, used = [], [], set()
    for name, member in members.items():
        plain = _JOINTS.sub("", name).lower()
        if plain in _PEOPLE or plain == "subject":
            facts.append(_fact(name, member))
        elif name == "personalizations" and isinstance(member.value, list):
            facts += list(_personalized(member.value))
        elif plain in _TEXTS and (contents := list(_contents(name, member.value))):
            texts += contents
        else:
            continue
        used.add(name)
    addressed = "".join(fact.value for fact in facts if "to" in fact.name.lower())
    if "@" not in addressed or not (texts or any("subject" in fact.name.lower() for fact in facts)):
        return None
    return _reading("E-mail", facts, texts, members, used)


def _personalized(people: list[Any]) -> Iterator[Fact]:
    for number, one in enumerate(people):
        for name, value in one.items():
            yield _fact(f"personalizations[{number}].{name}", Member(value, json.dumps(value, ensure_ascii=False)))


def _contents(name: str, value: Any) -> Iterator[Text]:
    """A text; one with its type beside it, as Microsoft Graph has it; or several, as SendGrid has them."""
    if isinstance(value, str):
        yield _text(name, value)
    elif isinstance(value, dict) and {"content"} <= value.keys() <= {"content", "contentType"}:
        yield from _contents(f"{name} ({value.get('contentType', 'no type')})", value["content"])
    elif isinstance(value, list) and all(isinstance(one, dict) and one.keys() == {"type", "value"} for one in value):
        for one in value:
            yield from _contents(f"{name} ({one['type']})", one["value"])


def _encoded_mail(members: dict[str, Member], *, decode: bool) -> Reading | None:
    """A whole message in base64, as Gmail takes it: nobody reads it without."""
    inner = members.get("message")
    holder = members if inner is None or not isinstance(inner.value, dict) else members_of(inner.raw) or {}
    raw = holder.get("raw")
    if raw is None or not isinstance(raw.value, str) or not begins_as_mail(raw.value):
        return None
    if not decode:
        return _unread("E-mail", IN_BASE64)
    try:
        mail = take_apart(raw.value)
    except ValueError as error:
        logger.info("an e-mail of %d characters is not for certain: %s", len(raw.value), error)
        return _unread("E-mail", NOT_FOR_CERTAIN)
    facts, texts = [], []
    for header in mail.headers:
        facts.append(_said(header.name, header.text))
        if header.decoded != header.text:
            facts.append(_said(f"{header.name}, decoded", header.decoded))
    for part in mail.parts:
        if part.text is None:
            facts += _file_facts("Name", part.file_name, part.content_type, part.data)
        else:
            texts.append(_text(part.content_type, part.text))
    used = "raw" if holder is members else "message"
    reading = _reading("E-mail, decoded", facts, texts, members, {used})
    inside = [] if holder is members else [reveal_html(name) for name in holder if name != "raw"]
    return reading._replace(rest=[*map(reveal_html, mail.others), *inside, *reading.rest])


def _file(members: dict[str, Member], method: str, url: str, *, decode: bool) -> Reading | None:
    """A file. GitHub takes its name from the address and its content as base64, whatever else the body says."""
    contents = [name for name in _FILE_CONTENTS if isinstance(members.get(name, Member(None, "")).value, str)]
    if len(contents) != 1:
        return None
    name, content = contents[0], members[contents[0]].value
    on_github = _GITHUB_FILE.match(urlsplit(url).path) if method == "PUT" else None
    named = next((key for key in _FILE_NAMES if isinstance(members.get(key, Member(None, "")).value, str)), "")
    typed = next((key for key in _FILE_TYPES if isinstance(members.get(key, Member(None, "")).value, str)), "")
    from_url = None if on_github else _DATA_URL.match(content)
    if not (named or on_github or from_url):
        return None
    if on_github or from_url or ("encoding" in members and members["encoding"].value == "base64"):
        if not decode:
            return _unread("File", IN_BASE64)
        data = b64decode(re.sub(r"[\r\n]", "", content[from_url.end() if from_url else 0 :]), validate=True)
    else:
        data = content.encode()
    texts = [_text("Content", shown)] if (shown := _as_text(data)) is not None else []
    if on_github:
        path = unquote(on_github[1])
        facts = [_said("Name, in the address", path)]
        for key, right in (*((key, path) for key in _FILE_NAMES), ("encoding", "base64")):
            if key in members and members[key].value != right:
                facts.append(_fact(f"Does not agree: {key}", members[key]))
        facts += _file_facts("", "", "", data)
        return _reading("File", facts, texts, members, {name})
    file_type = members[typed].value if typed else from_url[1] if from_url else ""
    facts = _file_facts(
        f"Name, as the payload says it ({named})", members[named].value if named else "", file_type, data
    )
    return _reading("File", facts, texts, members, {name, named, typed, "encoding"})


def _file_facts(label: str, name: str, kind: str, data: bytes) -> list[Fact]:
    size = f"{len(data)} byte{'' if len(data) == 1 else 's'}{'' if _as_text(data) is not None else ', no text'}"
    facts = [_said(label, name)] if name else []
    facts += [_said("Type", kind)] if kind else []
    return [*facts, _said("Size", size), _said("SHA-256", hashlib.sha256(data).hexdigest())]


def _as_text(data: bytes) -> str | None:
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def _reading(title: str, facts: list[Fact], texts: list[Text], members: dict[str, Member], used: set[str]) -> Reading:
    shown = facts[:MOST_FACTS]
    for left, what in ((len(facts) - MOST_FACTS, "lines"), (len(texts) - MOST_TEXTS, "texts")):
        if left > 0:
            shown.append(_said("… cut here", f"{left} more {what} are in the payload below"))
    labelled = [text._replace(label=f"{title}, text {n}") for n, text in enumerate(texts[:MOST_TEXTS], start=1)]
    return Reading(title, shown, labelled, [reveal_html(name) for name in members if name not in used])


def _unread(title: str, why: str) -> Reading:
    return Reading(title, [], [], [], why, why == IN_BASE64)


def _fact(name: str, member: Member) -> Fact:
    if isinstance(member.value, str) or is_secret(name):
        return _said(name, member.value if isinstance(member.value, str) else member.raw)
    return Fact(reveal_html(name), revealed(member.raw, secrets_in(member.raw, Kind.JSON)))


def _said(name: str, text: str) -> Fact:
    shown = reveal_html(text)
    return Fact(reveal_html(name), masked_html(shown, len(text)) if is_secret(name) else shown)


def _text(name: str, text: str, kind: Kind = Kind.TEXT) -> Text:
    payload = lay_out_small(text, kind, most_lines=READ_LINES)
    head = "\n".join(text[:READ_FROM_LONG].split("\n")[:READ_LINES])
    return Text(reveal_html(name), payload or beginning(head, kind, length=len(text)))
