"""How a platform wants its credential: which header or parameter carries it, and what it may contain."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit

from platforms.endpoints import parse_base_url
from platforms.lenient_names import sets_parameter

ClientPlace = Literal["body", "basic"]
AuthType = Literal["bearer", "header", "query", "basic"]

MAX_CREDENTIAL_CHARACTERS = 16 * 1024

_NAMED: tuple[AuthType, ...] = ("header", "query")
_NAMELESS: tuple[AuthType, ...] = ("bearer", "basic")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110 §5.6.2 token
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Headers that frame the message, name its target, or are set by the broker itself.
_RESERVED_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "idempotency-key", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "user-agent", "via"}
)
# Beside those, what a header that is the same for every call must not be: it is stored and shown in clear.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie"})
# What lenient frameworks take for the method, whatever the request line says: scopes and cards go by that line.
_OTHER_METHOD = re.compile(r"(x[-_])?(http[-_])?method([-_]override)?|x[-_]http[-_]method.*|_method")
_MAX_HEADERS = 10
_HEADER_TEXT = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")
_PREFIX = re.compile(r"[!-~][ -~]{0,31}")


@dataclass(frozen=True, slots=True)
class Refresh:
    """Where a refresh token is exchanged for an access token, and where its client names itself (RFC 6749 §2.3.1)."""

    token_url: str
    client: ClientPlace = "body"


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the credential goes. `name` is the header's or parameter's, "" for bearer and basic.

    `prefix` stands before it in that header, as in "Token token="; `headers` go along with every call, as the version
    of an API that demands one. With `refresh`, the stored credential may be one that is renewed there
    (`platforms.refresh_grants`), and what is placed is the access token that it was exchanged for.
    """

    type: AuthType
    name: str = ""
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    refresh: Refresh | None = None

    @property
    def placement(self) -> str:
        """Where the credential goes, with a star in its place. It is part of what a decision binds to."""
        return {
            "bearer": "Authorization: Bearer *",
            "basic": "Authorization: Basic *",
            "header": f"{self.name}: {self.prefix}*",
            "query": f"?{self.name}=*",
        }[self.type]


def parse_auth(value: Mapping[str, object]) -> Auth:
    """The placement in {"type": "bearer" | "basic"} or {"type": "header" | "query", "name": "X-Api-Key"}.

    A header may have a `prefix`, and all of them `headers`, an object of names and values. Bearer and header may have
    `refresh`: {"token_url": …, "client": "body" | "basic"}. Raises ValueError with a sentence.
    """
    if unknown := sorted(str(key) for key in value if key not in {"type", "name", "prefix", "headers", "refresh"}):
        raise ValueError(f"auth has the unknown key {unknown[0]!r}: it takes type, name, prefix, headers and refresh.")
    kind, name = value.get("type"), value.get("name", "")
    if kind not in (*_NAMED, *_NAMELESS):
        raise ValueError("auth.type must be bearer, header, query or basic.")
    if not isinstance(name, str):
        raise ValueError("auth.name must be text.")
    if kind in _NAMELESS:
        if name:
            raise ValueError(f"auth.name has no meaning for {kind}: leave it out.")
    elif kind == "header":
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("auth.name must be the name of the header, as in X-Api-Key.")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"auth.name cannot be {name}: that header is set by HTTP or by the broker.")
    elif not _PARAMETER_NAME.fullmatch(name):
        raise ValueError("auth.name must be the name of the query parameter, as in api_key.")
    prefix = value.get("prefix", "")
    if prefix != "" and (kind != "header" or not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix)):
        raise ValueError("auth.prefix is up to 32 ASCII characters before the credential in a header of its own.")
    carrier = {"header": name, "query": ""}.get(kind, "authorization").lower()
    return Auth(
        type=kind,
        name=name,
        prefix=str(prefix),
        headers=_parse_headers(value.get("headers", {}), carrier),
        refresh=_parse_refresh(value["refresh"], kind) if "refresh" in value else None,
    )


def _parse_refresh(value: object, kind: AuthType) -> Refresh:
    if kind not in {"bearer", "header"}:
        raise ValueError("auth.refresh is for a token in a header: bearer or header.")
    if not isinstance(value, Mapping) or not {"token_url"} <= value.keys() <= {"token_url", "client"}:
        raise ValueError("auth.refresh must be an object with token_url, and perhaps client.")
    url, client = value["token_url"], value.get("client", "body")
    try:
        if not isinstance(url, str) or parse_base_url(url) != url:
            raise ValueError("It is not in its plain form.")
    except ValueError as error:
        raise ValueError(
            f"auth.refresh.token_url is no address, as https://auth.example.com/token is. {error}"
        ) from None
    if client not in ("body", "basic"):
        raise ValueError("auth.refresh.client must be body or basic.")
    return Refresh(token_url=url, client=client)


def _parse_headers(value: object, carrier: str) -> Mapping[str, str]:
    """Headers that go along with every call, none of them the one that carries the credential."""
    if not isinstance(value, Mapping) or len(value) > _MAX_HEADERS:
        raise ValueError(f"auth.headers must be an object of at most {_MAX_HEADERS} names and values.")
    taken = _RESERVED_HEADERS | _SECRET_HEADERS | {carrier}
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError("auth.headers has a name that is none of a header, as X-Api-Version is.")
        if _OTHER_METHOD.fullmatch(name.lower()):
            raise ValueError(f"auth.headers cannot set {name}: some servers take it for another method.")
        if name.lower() in taken:
            raise ValueError(f"auth.headers cannot set {name}: HTTP, the broker or the credential does.")
        if not isinstance(text, str) or not _HEADER_TEXT.fullmatch(text):
            raise ValueError(f"auth.headers has no text of up to 200 printable ASCII characters for {name}.")
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("auth.headers names a header twice.")
    return dict(value)


def check_credential(auth: Auth, credential: str) -> None:
    """Raises ValueError, with a sentence without the credential, if `auth` cannot carry it."""
    if not credential:
        raise ValueError("The credential is empty.")
    if len(credential) > MAX_CREDENTIAL_CHARACTERS:
        raise ValueError(f"The credential is longer than {MAX_CREDENTIAL_CHARACTERS} characters.")
    if credential != credential.strip():
        raise ValueError("The credential begins or ends with white space, perhaps a final line break.")
    if _CONTROL.search(credential):
        raise ValueError("The credential contains a line break or another control character.")
    try:
        credential.encode()
    except UnicodeEncodeError:
        raise ValueError("The credential is not valid text.") from None
    if auth.type in {"bearer", "header"} and not credential.isascii():
        raise ValueError("The credential contains characters that a header cannot carry: only ASCII can.")
    if auth.type == "bearer" and " " in credential:
        raise ValueError("The credential contains a space: give a bearer token without the word Bearer.")
    if auth.type == "basic" and ":" not in credential:
        raise ValueError('The credential for basic must be "user:password".')


def apply(
    auth: Auth, credential: str, *, url: str, headers: list[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """A new URL and header list that carry the credential and the headers of `auth`; others of those names give way.

    Bearer: RFC 6750 §2.1. Basic: RFC 7617 with UTF-8. Raises ValueError with a sentence if the credential cannot
    be carried, or if the URL has a parameter of that name already: servers differ in which one they take.
    """
    check_credential(auth, credential)
    fixed = {name.lower() for name in auth.headers}
    headers = [pair for pair in headers if pair[0].lower() not in fixed] + list(auth.headers.items())
    if auth.type == "query":
        query = urlsplit(url).query
        if sets_parameter(query, auth.name):
            raise ValueError(f"The call sets the parameter {auth.name}, which carries the credential.")
        url = f"{url}{'&' if query else '?'}{auth.name}={quote(credential, safe='')}"
        return url, headers
    name, value = {
        "bearer": ("Authorization", f"Bearer {credential}"),
        "basic": ("Authorization", "Basic " + base64.b64encode(credential.encode()).decode()),
        "header": (auth.name, auth.prefix + credential),
    }[auth.type]
    return url, [pair for pair in headers if pair[0].lower() != name.lower()] + [(name, value)]
