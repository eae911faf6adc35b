"""Where a call may go on a platform: endpoints as agents write them, scope rules, base URLs.

An endpoint has one spelling. It is normalised once (RFC 3986 §6.2.2), and that text is what rules are matched
against, what people are shown and what is sent; whatever a server could read differently is refused.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote_to_bytes

from platforms.lenient_names import OTHER_METHOD, sets_parameter

MAX_ENDPOINT_BYTES = 8 * 1024

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@%/]*")  # RFC 3986 pchar and "/", without ";"
_QUERY = re.compile(r"[!-~]*")
_FORBIDDEN_INSIDE = re.compile(r"[\\;\x00-\x1f\x7f-\x9f]")
_METHOD = re.compile(r"[A-Z]{1,16}|\*")
_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BASE_URL = re.compile(r"(?P<scheme>(?ai:https?))://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class EndpointRefused(ValueError):
    """The endpoint cannot be called; the message is one sentence that may be shown to the agent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A normalised endpoint: exactly the path and query that are matched, shown and sent."""

    path: str
    query: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a scope: a method (or "*") and the segments of a path pattern."""

    method: str
    segments: tuple[str, ...]


def parse_endpoint(endpoint: str) -> Endpoint:
    """The normalised form of an agent's `endpoint`, a path with an optional "?query".

    Raises EndpointRefused for whatever has more than one reading: see the sentences below, and
    tests/platforms/hostile_endpoints.py for the spellings.
    """
    if len(endpoint) > MAX_ENDPOINT_BYTES:
        raise EndpointRefused(f"The endpoint is longer than {MAX_ENDPOINT_BYTES} bytes.")
    if not endpoint.isascii():
        raise EndpointRefused("The endpoint contains non-ASCII characters: percent-encode them as UTF-8.")
    if not endpoint.startswith("/"):
        raise EndpointRefused('The endpoint must be a path on the platform that starts with "/".')
    if "#" in endpoint:
        raise EndpointRefused('The endpoint contains "#": fragments are not sent, %23 is a literal one.')
    if "\\" in endpoint:
        raise EndpointRefused("The endpoint contains a backslash.")
    path, _, query = endpoint.partition("?")
    path = _normalise_escapes(path)
    _check_path(path)
    query = _normalise_escapes(query)
    if not _QUERY.fullmatch(query):
        raise EndpointRefused("The query contains spaces or control characters: percent-encode them.")
    if "%00" in query:
        raise EndpointRefused("The query contains an encoded NUL.")
    if query and sets_parameter(query, OTHER_METHOD):
        raise EndpointRefused("The query sets _method: some servers take it for another method.")
    return Endpoint(path=path, query=query)


def parse_rule(rule: str) -> Rule:
    """The rule in "GET /api/**": a method or "*", a space, a path pattern.

    In the pattern "*" stands for exactly one segment and "**" for any number of them, also none; both only as
    a whole segment. Raises ValueError with a sentence.
    """
    method, _, pattern = rule.partition(" ")
    if not _METHOD.fullmatch(method) or not pattern:
        raise ValueError(f'{rule!r} is not a rule: write a method and a path, as in "GET /api/**".')
    if "?" in pattern:
        raise ValueError(f"{rule!r} contains a query: rules name paths only.")
    try:
        path = parse_endpoint(pattern).path
    except EndpointRefused as refused:
        raise ValueError(f"{rule!r} names a path no call can have. {refused}") from None
    segments = tuple(path[1:].split("/"))
    if any("*" in segment and segment not in {"*", "**"} for segment in segments):
        raise ValueError(f'{rule!r} has "*" inside a segment: it can only stand for a whole one.')
    return Rule(method=method, segments=segments)


def covers(rules: Iterable[Rule], *, method: str, path: str) -> bool:
    """Whether one of `rules` covers a call of `method` to `path`.

    Only a normalised path, as in Endpoint.path, is ever covered. Methods and segments are case-sensitive.
    """
    try:
        if parse_endpoint(path) != Endpoint(path=path, query=""):
            return False
    except EndpointRefused:
        return False
    segments = path[1:].split("/")
    return any(rule.method in {"*", method} and _matches(rule.segments, segments) for rule in rules)


def parse_base_url(text: str) -> str:
    """The normalised base URL of a platform: scheme, host, port unless it is the default one, path prefix.

    Raises ValueError with a sentence. Addresses are only checked for their spelling: where a connection may go
    is decided when it is opened (platforms.addresses).
    """
    match = _BASE_URL.fullmatch(text)
    if not match:
        raise ValueError("A base URL is http:// or https://, a host and perhaps a path, no query or fragment.")
    authority = _AUTHORITY.fullmatch(match["authority"])
    if not authority:
        raise ValueError("The base URL must name a host and at most a port, without a user name.")
    scheme = match["scheme"].lower()
    netloc = _normalise_host(authority["host"])
    if authority["port"] is not None:
        port = _parse_port(authority["port"])
        netloc += "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    prefix = match["path"] or "/"
    try:
        prefix = parse_endpoint(prefix).path
    except EndpointRefused as refused:
        raise ValueError(f"The path of the base URL cannot be used. {refused}") from None
    return f"{scheme}://{netloc}" + ("" if prefix == "/" else prefix)


def join_url(base_url: str, endpoint: Endpoint) -> str:
    """The URL of `endpoint` under a base URL that parse_base_url returned.

    The endpoint "/" is the base URL itself, as written: a GraphQL platform is one URL, final "/" or not.
    """
    url = base_url if endpoint.path == "/" else base_url.removesuffix("/") + endpoint.path
    if endpoint.path == "/" and base_url.count("/") == 2:
        url += "/"
    return f"{url}?{endpoint.query}" if endpoint.query else url


def target_url(base_url: str, endpoint: Endpoint, *, is_mcp: bool) -> str:
    """Where a call goes: under the base URL; to the base URL itself for an MCP server, whose endpoints are its tools.

    Raises EndpointRefused for a tool with a query.
    """
    if not is_mcp:
        return join_url(base_url, endpoint)
    if endpoint.query:
        raise EndpointRefused("The endpoint of an MCP server is /<tool>, without a query.")
    return join_url(base_url, Endpoint(path="/", query=""))


def _normalise_escapes(text: str) -> str:
    """RFC 3986 §6.2.2.1 and §6.2.2.2: hex digits in upper case, unreserved characters decoded."""
    if "%" not in text:
        return text
    if _BROKEN_ESCAPE.search(text):
        raise EndpointRefused('The endpoint contains a "%" without two hex digits after it: write %25.')

    def normalise(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(normalise, text)


def _check_path(path: str) -> None:
    """Refuse a path that a server could split or resolve differently: as it is, decoded once and twice."""
    if not _PATH.fullmatch(path):
        raise EndpointRefused("The path contains a semicolon or characters that must be percent-encoded.")
    if "//" in path:
        raise EndpointRefused('The path contains an empty segment ("//").')
    _check_layer(path, slashes=path.count("/"))
    layer = path
    for _ in range(2):
        if "%" not in layer:
            return
        try:
            layer = unquote_to_bytes(layer).decode("utf-8")
        except UnicodeDecodeError:
            raise EndpointRefused("The path contains percent-escapes that are not UTF-8.") from None
        _check_layer(layer, slashes=path.count("/"))
        _check_layer(unicodedata.normalize("NFKC", layer), slashes=path.count("/"))
    if _ESCAPE.search(layer):
        raise EndpointRefused("The path is percent-encoded more than twice.")


def _check_layer(text: str, *, slashes: int) -> None:
    if text.count("/") != slashes or _FORBIDDEN_INSIDE.search(text):
        raise EndpointRefused("The path hides a slash, backslash, semicolon or control character in escapes.")
    # Some servers drop spaces at the end of a name, which makes a dot segment of ".. ".
    if any(segment.strip() in {".", ".."} for segment in text.split("/")):
        raise EndpointRefused('The path contains a "." or ".." segment.')


def _matches(pattern: tuple[str, ...], segments: list[str]) -> bool:
    """Glob over segments, in O(len(pattern) · len(segments)): only the last "**" is ever widened."""
    at = segment_at = 0
    widest = resume = -1
    while segment_at < len(segments):
        if at < len(pattern) and pattern[at] == "**":
            widest, resume = at, segment_at
            at += 1
        elif at < len(pattern) and _matches_segment(pattern[at], segments[segment_at]):
            at += 1
            segment_at += 1
        elif widest >= 0:
            resume += 1
            at, segment_at = widest + 1, resume
        else:
            return False
    return all(part == "**" for part in pattern[at:])


def _matches_segment(part: str, segment: str) -> bool:
    # "*" is one named thing: "DELETE /messages/*" must not cover the collection "/messages/".
    return segment != "" if part == "*" else part == segment


def _normalise_host(host: str) -> str:
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("The host in the base URL is not an IPv6 address.") from None
        if address.scope_id is not None:
            raise ValueError("The host in the base URL has a zone id.")
        return f"[{address.compressed}]"
    if not host.isascii():
        raise ValueError("The host in the base URL is not ASCII: write international names as xn--….")
    host = host.lower()
    labels = host.split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError("The host in the base URL is not a host name.")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):  # resolvers read 127.1, 2130706433 and 0x7f.1 as addresses too
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError("The host in the base URL is a number: write it as four decimal numbers.") from None
    return host


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError("The port in the base URL is not a number from 1 to 65535.")
    return int(text)
