"""Secrets in an outgoing call: the owner's own stored credentials, our own agents' assertions, well-known token shapes.

A stored credential is opened once per process and version, turned into keyed hashes and forgotten; what stays in
memory finds the credential in a text and does not give it away. The key is made anew by every process and never
stored. Limits, on purpose: a credential shorter than MIN_LENGTH is not looked for (whoever may call could otherwise
try out passwords by the thousand), nor is one that was taken apart or encoded by hand.
"""

import json
import logging
import re
import secrets
import threading
from base64 import b64encode, urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote, unquote_plus
from uuid import UUID

from django.db import connection as database

from platforms.credentials import Auth, parse_auth
from platforms.kept_tokens import open_tokens
from platforms.models import Connection, credential_aad
from platforms.refresh_grants import is_renewed, read_grant, secrets_of
from platforms.secret_shapes import SHAPES
from platforms.vault import KeyServiceError, Sealed, VaultError, open_sealed

logger = logging.getLogger(__name__)
_K = TypeVar("_K")
_V = TypeVar("_V")

MIN_LENGTH = 16
_KEY = secrets.token_bytes(32)
_KEPT = 10_000  # connections whose hashes stay in memory
_KEPT_OWNERS = 1_000
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_UNICODE_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_LETTER_ESCAPES = (("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\b", "\b"), ("\\f", "\f"))
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,2000}\.(eyJ[A-Za-z0-9_-]{8,4000})\.[A-Za-z0-9_-]{16,2000}")

STORED = "a credential of this account"
ASSERTION = "an assertion of an agent"


class SecretInRequest(Exception):
    """The call carries a secret. `findings` says in which field and of what kind; the secret is nowhere in it."""

    def __init__(self, findings: Mapping[str, str]) -> None:
        field, kind = next(iter(findings.items()))
        super().__init__(f"The {field} contains {kind}.")
        self.findings = dict(findings)


class _Needle(NamedTuple):
    """How to find one secret again: hash and place of its longest word, hash and length of the whole."""

    anchor: bytes
    anchor_length: int
    offset: int
    length: int
    whole: bytes


@dataclass(frozen=True, slots=True)
class _Needles:
    """The stored credentials of one owner, by the hash of their anchors."""

    by_anchor: Mapping[bytes, tuple[_Needle, ...]]
    lengths: frozenset[int]

    def found_in(self, text: str) -> bool:
        if not self.lengths:
            return False
        for word in _WORD.finditer(text):
            if word.end() - word.start() not in self.lengths:
                continue
            for needle in self.by_anchor.get(_digest(word.group()), ()):
                start = word.start() - needle.offset
                if start >= 0 and _digest(text[start : start + needle.length]) == needle.whole:
                    return True
        return False


_Key: TypeAlias = tuple[UUID, int, str, int]  # connection, its credential's version and placement, its access token
_cache: "OrderedDict[_Key, tuple[_Needle, ...]]" = OrderedDict()
_by_owner: "OrderedDict[tuple[_Key, ...], _Needles]" = OrderedDict()  # put together, by what an owner has now
_lock = threading.Lock()


def refuse_secrets(*, owner_id: UUID, texts: Mapping[str, str]) -> None:
    """Look for a secret in the named texts: as it is, or as JSON or a URL writes it.

    Raises:
        SecretInRequest: there is one.
        KeyServiceError: what has to be looked for cannot be known now.
    """
    needles = _needles_of(owner_id)
    findings = {name: kind for name, text in texts.items() if (kind := _first_kind(text, needles))}
    if findings:
        raise SecretInRequest(findings)


def _first_kind(text: str, needles: _Needles) -> str:
    for reading in _readings(text):
        if kind := _shape_in(reading):
            return kind
        if needles.found_in(reading):
            return STORED
        if _has_assertion(reading):
            return ASSERTION
    return ""


def _readings(text: str) -> Iterator[str]:
    """The text, and what it says once the escapes of JSON and of URLs are taken off, twice: JSON travels in JSON."""
    yield text
    plain = text
    for _ in range(2):
        if "\\" in plain:
            plain = _without_json_escapes(plain)
            yield plain
        if "+" in plain:
            yield unquote_plus(plain)
        if "%" in plain:
            plain = unquote(plain)
            yield plain


def _without_json_escapes(text: str) -> str:
    """RFC 8259, section 7. A backslash that stands for itself before an n is read as a line break: more is found, not
    less, and a megabyte of backslashes takes no time."""
    plain = text.replace('\\"', '"').replace("\\/", "/").replace("\\\\", "\\")
    if "\\u" in plain:
        plain = _UNICODE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), plain)
    for letter, character in _LETTER_ESCAPES:
        plain = plain.replace(letter, character)
    return plain


def _shape_in(text: str) -> str:
    return next((shape.kind for shape in SHAPES if shape.is_in(text)), "")


def _has_assertion(text: str) -> bool:
    """Whether an assertion or child token of ours is in the text: a JWT that names agent and owner."""
    if "eyJ" not in text:
        return False
    for found in _JWT.finditer(text):
        payload = found.group(1)
        try:
            claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (ValueError, RecursionError):
            continue
        if isinstance(claims, dict) and {"agent_id", "owner_id"} <= claims.keys():
            return True
    return False


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=16).digest()


def _needle(secret: str) -> _Needle | None:
    words = list(_WORD.finditer(secret))
    if len(secret) < MIN_LENGTH or not words:
        return None
    longest = max(words, key=lambda word: word.end() - word.start())
    return _Needle(
        anchor=_digest(longest.group()),
        anchor_length=longest.end() - longest.start(),
        offset=longest.start(),
        length=len(secret),
        whole=_digest(secret),
    )


def _secrets_in(auth: Auth, credential: str) -> Iterator[str]:
    """What must not leave: the credential; for "user:password" the password, and the pair as a header carries it; of
    one that is renewed the refresh token and its client's secret."""
    if is_renewed(auth, credential):
        yield from secrets_of(read_grant(credential))
    elif auth.type == "basic":
        yield credential.partition(":")[2]
        yield b64encode(credential.encode()).decode().rstrip("=")
    else:
        yield credential


# Written by hand: this runs before every call of every agent.
_CURRENT = """
SELECT c.id, c.credential_version, p.auth ->> 'type', COALESCE(t.serial, 0)
  FROM platforms_connection c JOIN platforms_platform p ON p.id = c.platform_id
  LEFT JOIN platforms_accesstoken t ON t.connection_id = c.id
 WHERE p.owner_id = %s
 ORDER BY c.id
"""


def _needles_of(owner_id: UUID) -> _Needles:
    """One query per call; another one, and the vault, only for what this process has not seen yet."""
    with database.cursor() as cursor:
        cursor.execute(_CURRENT, [owner_id])
        current: tuple[_Key, ...] = tuple(cursor.fetchall())
    with _lock:
        if found := _by_owner.get(current):
            return found
        known = {key: _cache[key] for key in current if key in _cache}
    fresh = _fingerprint([key[0] for key in current if key not in known])
    needles = _indexed(needle for found in (known | fresh).values() for needle in found)
    with _lock:
        _remember(_cache, fresh, most=_KEPT)
        if len(known) + len(fresh) == len(current):  # what did not open is tried again
            _remember(_by_owner, {current: needles}, most=_KEPT_OWNERS)
    return needles


def _remember(cache: "OrderedDict[_K, _V]", found: Mapping[_K, _V], *, most: int) -> None:
    cache.update(found)
    while len(cache) > most:
        cache.popitem(last=False)


def _indexed(needles: Iterable[_Needle]) -> _Needles:
    by_anchor: dict[bytes, tuple[_Needle, ...]] = {}
    for needle in needles:
        by_anchor[needle.anchor] = (*by_anchor.get(needle.anchor, ()), needle)
    return _Needles(by_anchor, frozenset(needle.anchor_length for each in by_anchor.values() for needle in each))


def _fingerprint(connection_ids: list[UUID]) -> dict[_Key, tuple[_Needle, ...]]:
    found: dict[_Key, tuple[_Needle, ...]] = {}
    if not connection_ids:
        return found
    for connection in Connection.objects.filter(pk__in=connection_ids).select_related("platform", "access_token"):
        sealed = Sealed(
            connection.credential_key_id,
            bytes(connection.credential_wrapped_key),
            bytes(connection.credential_ciphertext),
        )
        aad = credential_aad(connection_id=connection.pk, version=connection.credential_version)
        try:
            credential = open_sealed(sealed, aad=aad)
        except KeyServiceError:  # it may be back in a moment, and then the credential is of use
            raise
        except VaultError as error:  # nothing can be sent with it either; not kept, as a key may yet be put back
            logger.warning("the credential of connection %s is not looked for in calls: %s", connection.pk, error)
            continue
        auth = parse_auth(connection.platform.auth)
        renewed = getattr(connection, "access_token", None)
        secrets_found = [*_secrets_in(auth, credential), *(kept.token for kept in open_tokens(renewed))]
        key = (connection.pk, connection.credential_version, str(auth.type), renewed.serial if renewed else 0)
        found[key] = tuple(each for each in map(_needle, secrets_found) if each)
    return found
