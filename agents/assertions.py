"""Reading bearer tokens, and checking the RS256 assertions that agents sign (RFC 7515, RFC 7519).

Pure: no database, no clock of its own. What the server signs itself is in `agents.tokens`.
"""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

MAX_TOKEN_LENGTH = 8 * 1024
LEEWAY = 30  # seconds of clock skew, both ways
MAX_LIFETIME = 300  # seconds; published clients sign for 60 or 300
RS256 = "RS256"


class InvalidAssertion(ValueError):
    """The token proves nothing. `code` names the check for logs; answers do not tell them apart."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ExpiredAssertion(InvalidAssertion):
    """Rightly signed, but not for this time."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """A compact JWS taken apart. `algorithm` only says which check it has to pass."""

    token: str
    algorithm: str
    header: dict[str, object]
    payload: dict[str, object]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Nothing of it is true before `verify` has returned."""

    agent_id: str
    owner_id: str
    issued_at: int
    expires_at: int
    session_id: str


def _no_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidAssertion("duplicate_claim")
    return value


def _segment(text: str) -> bytes:
    """Decode one base64url segment, refusing every spelling but the canonical one (RFC 7515, section 2)."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise InvalidAssertion("not_base64url") from error
    if urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise InvalidAssertion("not_canonical_base64url")
    return data


def _json_object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_twice)
    except InvalidAssertion:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: also for an integer of more digits than Python reads
        raise InvalidAssertion("not_json") from error
    if not isinstance(value, dict):
        raise InvalidAssertion("not_an_object")
    return value


def claimed_text(claims: dict[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > 128 or not value.isascii() or not value.isprintable():
        raise InvalidAssertion(f"bad_{name}")
    return value


def _seconds(claims: dict[str, object], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**40:  # a bool is no time, and neither is 1e9
        raise InvalidAssertion(f"bad_{name}")
    return value


def take_apart(token: str) -> Unverified:
    """Split and decode a compact JWS, refusing whatever has more than one reading.

    Raises:
        InvalidAssertion: it is none, or it relies on extensions that we do not know.
    """
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise InvalidAssertion("too_long")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise InvalidAssertion("not_compact")
    header, payload, _ = (_segment(part) for part in parts)
    head = _json_object(header)
    if "crit" in head or "b64" in head:  # RFC 7515, section 4.1.11: extensions we do not know
        raise InvalidAssertion("unknown_extension")
    algorithm = head.get("alg")
    if not isinstance(algorithm, str):
        raise InvalidAssertion("bad_alg")
    return Unverified(token, algorithm, head, _json_object(payload))


def read_claims(unverified: Unverified) -> Claims:
    """The claims that every token of an agent carries: enough to look its keys up.

    Raises:
        InvalidAssertion: one is missing or is not what it should be.
    """
    claims = unverified.payload
    session_id = claims.get("session_id", "")
    return Claims(
        agent_id=claimed_text(claims, "agent_id"),
        owner_id=claimed_text(claims, "owner_id"),
        issued_at=_seconds(claims, "iat"),
        expires_at=_seconds(claims, "exp"),
        session_id=session_id if isinstance(session_id, str) else "",
    )


@lru_cache(maxsize=4096)
def _rsa_key(pem: str) -> RSAKey:
    return RSAKey.import_key(pem)


def verify(
    unverified: Unverified, *, claims: Claims, public_keys_pem: Iterable[str], owner_id: str, now: float
) -> None:
    """Make sure that one of the agent's keys signed the token, for its owner and for this time (`now`: Unix seconds).

    Raises:
        InvalidAssertion: not RS256, no key fits, or another owner is claimed.
        ExpiredAssertion: the signature is right, the time is not.
    """
    if unverified.algorithm != RS256:
        raise InvalidAssertion("bad_alg")
    for pem in public_keys_pem:
        try:
            jws.deserialize_compact(unverified.token, _rsa_key(pem), algorithms=[RS256])
        except JoseError:
            continue
        break
    else:
        raise InvalidAssertion("bad_signature")
    if claims.owner_id.lower() != owner_id:
        raise InvalidAssertion("wrong_owner")
    if claims.expires_at - claims.issued_at > MAX_LIFETIME + LEEWAY or claims.expires_at <= claims.issued_at:
        raise ExpiredAssertion("lifetime_too_long")
    check_begun(claims, now=now)
    if now >= claims.expires_at + LEEWAY:
        raise ExpiredAssertion("token_expired")


def check_begun(claims: Claims, *, now: float) -> None:
    """Raises ExpiredAssertion: the token is from the future, so one of the two clocks is wrong."""
    if now < claims.issued_at - LEEWAY:
        raise ExpiredAssertion("token_not_yet_valid")
