"""The only way out: one HTTP request to a platform, from a guarded pycurl handle per thread.

Every connection is checked by address when its socket is opened, and again when a request is about to go over it,
so neither a name that changes its answer nor a kept connection leads around platforms.addresses.
"""

import re
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import pycurl
from django.conf import settings
from django.db import connection

from crash_points import Point, crash_point
from platforms.addresses import PrivateTargets, TargetRefused, check_address, parse_private_targets

UnreachableCode = Literal[
    "target_refused",
    "connect_failed",
    "tls_failed",
    "upstream_timeout",
    "response_too_large",
    "connection_lost",
    "invalid_response",
]

USER_AGENT = "agentvalet-server"
CONNECT_TIMEOUT = 5.0  # seconds for name look-up, TCP and TLS, or the whole timeout if that is shorter
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADER_LINES = 256
_SYSTEM_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
KEPT_HEADERS = frozenset({"retry-after", "mcp-session-id"})  # what is read; the others may repeat the credential

# RFC 9110 §9.2.1. Only these may ride on a kept connection: if one has died, libcurl sends the request again.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_METHOD = re.compile(r"[A-Z]{1,16}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[ \t!-~\x80-\xff]*")
_FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_URL = re.compile(r"https?://[!-~]+")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_HTTP_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS  # pycurl has no PROTOCOLS_STR

_E_TOO_LARGE = 100  # CURLE_TOO_LARGE, which pycurl does not name
_ERRORS: dict[int, tuple[UnreachableCode, str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: ("connect_failed", "{host} has no address."),
    pycurl.E_COULDNT_CONNECT: ("connect_failed", "{host} refused the connection or is out of reach."),
    pycurl.E_SSL_CONNECT_ERROR: ("tls_failed", "{host} did not complete the TLS handshake."),
    pycurl.E_PEER_FAILED_VERIFICATION: ("tls_failed", "{host} has a TLS certificate that is not trusted."),
    pycurl.E_SSL_CACERT_BADFILE: (
        "tls_failed",
        "{host} cannot be verified: install ca-certificates or set AGENTVALET_CA_BUNDLE.",
    ),
    pycurl.E_OPERATION_TIMEDOUT: ("upstream_timeout", "{host} did not answer within {timeout:g} s."),
    pycurl.E_FILESIZE_EXCEEDED: ("response_too_large", "The answer of {host} is larger than {limit} bytes."),
    _E_TOO_LARGE: ("response_too_large", "The answer of {host} has a header that is too long."),
    pycurl.E_GOT_NOTHING: ("connection_lost", "{host} closed the connection without an answer."),
    pycurl.E_PARTIAL_FILE: ("connection_lost", "{host} closed the connection in the middle of its answer."),
    pycurl.E_SEND_ERROR: ("connection_lost", "The connection to {host} was lost while sending."),
    pycurl.E_RECV_ERROR: ("connection_lost", "The connection to {host} was lost before its answer was complete."),
}
_NOT_CONNECTED: tuple[UnreachableCode, str] = ("connect_failed", "{host} could not be connected to.")
_CONNECT_TIMED_OUT = "{host} could not be connected to within {timeout:g} s."
_NOT_HTTP = 0  # stands for every other code
_OTHER_ERROR: tuple[UnreachableCode, str] = ("invalid_response", "{host} did not answer in HTTP.")


class PlatformUnreachable(Exception):
    """No complete answer came. str() is one sentence without credentials, path or query.

    `may_have_been_sent` is False only when no byte of the request has left: the call had no effect.
    """

    def __init__(self, message: str, *, code: UnreachableCode, may_have_been_sent: bool) -> None:
        super().__init__(message)
        self.code: UnreachableCode = code
        self.may_have_been_sent = may_have_been_sent


@dataclass(frozen=True, slots=True)
class PlatformResponse:
    """What the platform answered. `headers` holds KEPT_HEADERS only, under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _ThreadHandle(threading.local):
    """One libcurl handle per thread: it keeps connections, TLS sessions and the parsed CA bundle only."""

    def __init__(self) -> None:
        self.curl = pycurl.Curl()


_handle = _ThreadHandle()


def send(
    *,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | None,
    timeout: float,
    max_response_bytes: int,
    fresh: bool = False,
) -> PlatformResponse:
    """Send one request and return its answer, whatever the status: redirects are not followed.

    `timeout` is in seconds and covers everything from the name look-up to the last byte. `fresh` opens a
    connection for this request alone, so that libcurl cannot send it twice; methods that are not safe always get
    one. Raises PlatformUnreachable if no complete answer came, ValueError for what cannot be written as HTTP, or for
    a `timeout` in which nothing can be done.
    """
    if timeout <= 0:
        raise ValueError("There is no time left for the call.")
    target = _check_request(method=method, url=url, headers=headers)
    fresh = fresh or method not in _SAFE_METHODS
    exchange = _Exchange(target, max_response_bytes=max_response_bytes, once=fresh)
    curl = _handle.curl
    try:
        _set_policy(curl, timeout=timeout, max_response_bytes=max_response_bytes, fresh=fresh)
        _set_request(curl, method=method, url=url, headers=headers, body=body)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, exchange.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, exchange.before_request)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.take_header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.take_body)
        curl.perform()
    except pycurl.error as error:
        raise exchange.failure(error.args[0], timeout=timeout) from None
    finally:
        curl.reset()  # forgets the credential and the callbacks; connections and TLS sessions stay
        exchange.close()
    if not exchange.headers_done:  # libcurl takes a cut header and 101 for the end of an answer without a body
        raise exchange.failure(_NOT_HTTP if exchange.status == 101 else pycurl.E_PARTIAL_FILE, timeout=timeout)
    return PlatformResponse(status=exchange.status, headers=exchange.kept, body=bytes(exchange.body))


def release_connection() -> None:
    """Give the database connection back: a slow platform holds a thread, but nothing that others need."""
    if not connection.in_atomic_block:  # a test's own transaction
        connection.close()


class _Exchange:
    """What happens during one send(): libcurl's callbacks, and what they have seen."""

    def __init__(self, target: SplitResult, *, max_response_bytes: int, once: bool) -> None:
        self.status = 0
        self.kept: dict[str, str] = {}
        self.body = bytearray()
        self.headers_done = False
        self._host = (target.hostname or "").strip("[]")
        self._where = target.netloc
        self._plain = target.scheme == "http"
        self._limit = max_response_bytes
        self._once = once
        self._allowed = _private_targets(tuple(settings.PRIVATE_TARGETS))
        self._refusal: TargetRefused | None = None
        self._opened: list[socket.socket] = []
        self._sends = 0
        self._header_bytes = self._header_lines = 0
        self._overflow = False

    def open_socket(self, _purpose: int, where: "pycurl.CurlSockAddr") -> "socket.socket | int":
        """CURLOPT_OPENSOCKETFUNCTION: a socket for the resolved address, or none."""
        family, kind, protocol, address = where
        if family not in {socket.AF_INET, socket.AF_INET6} or not self._may_reach(address[0], address[1]):
            return int(pycurl.SOCKET_BAD)
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError:  # no IPv6 on this machine, or no descriptor left: libcurl goes on to the next address
            return int(pycurl.SOCKET_BAD)
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close our ends of the sockets: pycurl works with duplicates of their descriptors."""
        for opened in self._opened:
            opened.close()

    def before_request(self, ip: str, _local_ip: str, port: int, _local_port: int) -> int:
        """CURLOPT_PREREQFUNCTION: connected, nothing sent yet; a kept connection passes here too."""
        if not self._may_reach(ip, port) or (self._once and self._sends):
            return int(pycurl.PREREQFUNC_ABORT)
        self._sends += 1
        crash_point(Point.MID_SEND)
        return int(pycurl.PREREQFUNC_OK)

    def take_header(self, line: bytes) -> int | None:
        """CURLOPT_HEADERFUNCTION: status lines and headers, also of 1xx answers and trailers."""
        self._header_bytes += len(line)
        self._header_lines += 1
        if self._header_bytes > MAX_HEADER_BYTES or self._header_lines > MAX_HEADER_LINES:
            self._overflow = True
            return 0
        if not self.headers_done and (status_line := _STATUS_LINE.match(line)):
            self.status = int(status_line[1])
            self.kept.clear()
        elif not line.strip():
            self.headers_done = self.status >= 200
        elif not self.headers_done:
            name, _, value = line.decode("latin-1").partition(":")
            name = name.strip().lower()
            if name in KEPT_HEADERS:
                value = value.strip()
                self.kept[name] = f"{self.kept[name]}, {value}" if name in self.kept else value
        return None

    def take_body(self, chunk: bytes) -> int | None:
        """CURLOPT_WRITEFUNCTION: the body, as sent (nothing is decompressed), up to the limit."""
        if len(self.body) + len(chunk) > self._limit:
            self._overflow = True
            return 0
        self.body += chunk
        return None

    def failure(self, curl_code: int, *, timeout: float) -> PlatformUnreachable:
        """The exception for a libcurl error code."""
        sent = self._sends > 0
        if self._refusal and not sent:
            return PlatformUnreachable(str(self._refusal), code="target_refused", may_have_been_sent=False)
        code, sentence = _ERRORS.get(curl_code, _OTHER_ERROR if sent else _NOT_CONNECTED)
        if self._overflow:
            code, sentence = _ERRORS[pycurl.E_FILESIZE_EXCEEDED]
        elif sent and (code == "connect_failed" or curl_code == pycurl.E_ABORTED_BY_CALLBACK):
            code, sentence = _ERRORS[pycurl.E_RECV_ERROR]
        elif not sent and code == "upstream_timeout":
            sentence, timeout = _CONNECT_TIMED_OUT, _connect_timeout(timeout)
        message = sentence.format(host=self._where, timeout=timeout, limit=self._limit)
        return PlatformUnreachable(message, code=code, may_have_been_sent=sent)

    def _may_reach(self, ip: str, port: int) -> bool:
        try:
            check_address(ip, port, host=self._host, allowed=self._allowed, plain=self._plain)
        except TargetRefused as refusal:
            self._refusal = refusal
            return False
        return True


def _set_policy(curl: pycurl.Curl, *, timeout: float, max_response_bytes: int, fresh: bool) -> None:
    """What does not depend on the request itself. The handle has been reset: all else is default."""
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, _HTTP_PROTOCOLS)
    curl.setopt(pycurl.REDIR_PROTOCOLS, _HTTP_PROTOCOLS)
    curl.setopt(pycurl.FOLLOWLOCATION, 0)
    # HTTP/2 may hand a request back to be sent again (REFUSED_STREAM), and libcurl would do that on its own.
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.PATH_AS_IS, 1)
    curl.setopt(pycurl.PROXY, "")  # "" also switches off http_proxy and friends
    curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    curl.setopt(pycurl.CAINFO, settings.CA_BUNDLE or _system_ca_bundle())
    curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
    curl.setopt(pycurl.SSL_VERIFYPEER, 1)
    curl.setopt(pycurl.SSL_VERIFYHOST, 2)
    # The total is also the guard against a slow drip: a low-speed limit would cut off a platform that thinks.
    curl.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout * 1000)))
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(_connect_timeout(timeout) * 1000)))
    curl.setopt(pycurl.MAXFILESIZE_LARGE, max_response_bytes)  # refuses by Content-Length already
    curl.setopt(pycurl.MAXCONNECTS, 8)
    if fresh:
        curl.setopt(pycurl.FRESH_CONNECT, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)


def _connect_timeout(timeout: float) -> float:
    return min(timeout, CONNECT_TIMEOUT)


def _set_request(
    curl: pycurl.Curl, *, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None
) -> None:
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.USERAGENT, USER_AGENT)
    lines = [b"Expect:"]  # libcurl would ask before larger bodies, and send again on a 417
    if not any(name.lower() == "content-type" for name, _ in headers):
        lines.append(b"Content-Type:")  # libcurl would claim a form
    # "Name:" would remove the header, "Name;" sends it empty.
    lines += [(f"{name}: {value}" if value else f"{name};").encode("latin-1") for name, value in headers]
    curl.setopt(pycurl.HTTPHEADER, lines)
    if method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif body is not None or method in {"POST", "PUT", "PATCH"}:
        curl.setopt(pycurl.POSTFIELDS, body or b"")
    if method != "HEAD":
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def _check_request(*, method: str, url: str, headers: Sequence[tuple[str, str]]) -> SplitResult:
    """The parts of `url`. Raises ValueError, without the values, if the request could be read as another."""
    if not _METHOD.fullmatch(method) or method in {"CONNECT", "TRACE"}:
        raise ValueError("The method cannot be sent.")
    target = urlsplit(url) if _URL.fullmatch(url) else None
    if target is None or not target.hostname or "@" in target.netloc or "#" in url or "\\" in url:
        raise ValueError("The URL cannot be sent.")
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _FRAMING_HEADERS:
            raise ValueError("A header name cannot be sent.")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"The value of the header {name} cannot be sent.")
    return target


def _system_ca_bundle() -> str:
    """The bundle of the operating system. libcurl is told, because the one in pycurl's wheels knows Fedora's only."""
    return next((path for path in _SYSTEM_CA_BUNDLES if Path(path).is_file()), _SYSTEM_CA_BUNDLES[0])


@lru_cache(maxsize=4)
def _private_targets(items: tuple[str, ...]) -> PrivateTargets:
    return parse_private_targets(items)
