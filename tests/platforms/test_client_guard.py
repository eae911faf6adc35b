"""The client reaches what it may reach, and nothing it may not: addresses, redirects, proxies, TLS, injection."""

import socket
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from platforms.client import PlatformResponse, PlatformUnreachable, _system_ca_bundle, send
from tests.platforms.conftest import TestAuthority
from tests.platforms.wire_server import OK, always, then_close, wire_server


def get(
    url: str, *, headers: tuple[tuple[str, str], ...] = (), timeout: float = 5, method: str = "GET"
) -> PlatformResponse:
    return send(method=method, url=url, headers=headers, body=None, timeout=timeout, max_response_bytes=1000)


def has_ipv6_loopback() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
]
LOOPBACK_SPELLINGS += [
    "0x7f000001",
    "0.0.0.0",
    "0",
    "127.0.0.1.",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "127.255.0.1",
]
METADATA_TARGETS = [
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "10.0.0.1",
]
METADATA_TARGETS += [
    "100.100.100.200",
    "168.63.129.16",
    "192.168.0.1",
    "[::]",
    "[::127.0.0.1]",
    "255.255.255.255",
    "224.0.0.1",
]


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_no_spelling_of_loopback_is_reached_unless_it_is_listed(host: str) -> None:
    with wire_server(always(OK)) as server, pytest.raises(PlatformUnreachable) as unreachable:
        get(f"http://{host}:{server.port}/")
    assert server.connections == 0
    assert unreachable.value.code == "target_refused"
    assert unreachable.value.may_have_been_sent is False
    assert "AGENTVALET_PRIVATE_TARGETS" in str(unreachable.value)


@pytest.mark.parametrize("host", METADATA_TARGETS)
def test_metadata_and_private_addresses_are_not_reached(host: str) -> None:
    with pytest.raises(PlatformUnreachable) as unreachable:
        get(f"http://{host}/latest/meta-data/")
    assert unreachable.value.code == "target_refused"
    assert unreachable.value.may_have_been_sent is False


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")
def test_each_address_of_a_name_is_checked_by_itself(settings: Settings) -> None:
    with wire_server(always(OK)) as listed, wire_server(always(OK), host="::1", port=listed.port) as unlisted:
        settings.PRIVATE_TARGETS = [f"127.0.0.1:{listed.port}"]
        assert get(f"http://localhost:{listed.port}/").status == 200
    assert (len(listed.received), unlisted.connections) == (1, 0)


def test_a_listed_port_opens_no_other_port(settings: Settings) -> None:
    with wire_server(always(OK)) as listed, wire_server(always(OK)) as other:
        settings.PRIVATE_TARGETS = [f"127.0.0.1:{listed.port}"]
        assert get(listed.url).status == 200
        with pytest.raises(PlatformUnreachable, match="a loopback address"):
            get(other.url)
    assert other.connections == 0


def test_a_kept_connection_is_checked_again(settings: Settings) -> None:
    with wire_server(always(OK)) as server:
        settings.PRIVATE_TARGETS = ["127.0.0.1"]
        get(server.url)
        settings.PRIVATE_TARGETS = []
        with pytest.raises(PlatformUnreachable) as unreachable:
            get(server.url)
    assert (server.connections, len(server.received)) == (1, 1)
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("target_refused", False)


@pytest.mark.usefixtures("loopback_listed")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    with wire_server(always(OK)) as elsewhere:
        answer = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/\r\nContent-Length: 0\r\n\r\n".encode()
        with wire_server(always(answer)) as server:
            response = get(server.url, headers=(("Authorization", "Bearer s3cret"),))
    assert response.status == status
    assert "location" not in response.headers
    assert (len(server.received), elsewhere.connections) == (1, 0)


@pytest.mark.usefixtures("loopback_listed")
def test_no_proxy_and_no_netrc_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with wire_server(always(OK)) as proxy, wire_server(always(OK)) as server:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        get(server.url)
    assert proxy.connections == 0
    assert server.received[0].header(b"authorization") == []


@pytest.mark.usefixtures("loopback_listed")
def test_nothing_of_one_call_is_left_in_the_next() -> None:
    cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: session=s3cret\r\nAlt-Svc: h2=evil.example:443\r\n\r\n")
    with wire_server(always(cookie)) as server:
        get(server.url, headers=(("Authorization", "Bearer s3cret"), ("X-Api-Key", "s3cret")))
        get(server.url)
    assert server.connections == 1
    assert b"s3cret" not in server.received[1].head
    assert b"Cookie" not in server.received[1].head


@pytest.mark.usefixtures("loopback_listed")
def test_a_demand_for_credentials_is_not_answered() -> None:
    demand = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    with wire_server(always(demand)) as server:
        assert get(server.url).status == 401
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET /x HTTP/1.1\r\nX: 1\r\n\r\n", "/", ()),
        ("get", "/", ()),
        ("", "/", ()),
        ("CONNECT", "/", ()),
        ("TRACE", "/", ()),
        ("GET", "/\r\nX-Injected: 1", ()),
        ("GET", "/ HTTP/1.1\r\nX: 1", ()),
        ("GET", "/\x00", ()),
        ("GET", "/caf\u00e9", ()),
        ("GET", "/#x", ()),
        ("GET", "/\\x", ()),
        ("GET", "/", (("X\r\nX-Injected", "1"),)),
        ("GET", "/", (("X-Injected: 1\r\nX", "1"),)),
        ("GET", "/", (("X Y", "1"),)),
        ("GET", "/", (("", "1"),)),
        ("GET", "/", (("X;", "1"),)),
        ("GET", "/", (("X", "1\r\nX-Injected: 1"),)),
        ("GET", "/", (("X", "1\nX-Injected: 1"),)),
        ("GET", "/", (("X", "1\rX-Injected: 1"),)),
        ("GET", "/", (("X", "1\x00"),)),
        ("GET", "/", (("X", "1\x7f"),)),
        ("GET", "/", (("X", "\u20ac"),)),
        ("GET", "/", (("Host", "evil.example"),)),
        ("GET", "/", (("content-length", "0"),)),
        ("GET", "/", (("Transfer-Encoding", "chunked"),)),
        ("GET", "/", (("Connection", "X-Api-Key"),)),
        ("GET", "/", (("Expect", "100-continue"),)),
        ("GET", "/", (("Upgrade", "h2c"),)),
    ],
)
@pytest.mark.usefixtures("loopback_listed")
def test_what_is_not_one_request_is_not_sent(method: str, path: str, headers: tuple[tuple[str, str], ...]) -> None:
    with wire_server(always(OK)) as server, pytest.raises(ValueError, match="cannot be sent"):
        get(server.url + path, method=method, headers=headers)
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://",
        "http:///x",
        "http://user:pw@127.0.0.1/",
        "127.0.0.1/",
        "",
        "http://127.0.0.1@evil.example/",
        "HTTP://127.0.0.1/",
        "dict://127.0.0.1/",
        "http:/127.0.0.1",
    ],
)
@pytest.mark.usefixtures("loopback_listed")
def test_a_url_that_is_not_plain_http_is_not_called(url: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        get(url)


@pytest.mark.usefixtures("loopback_listed")
def test_a_trusted_certificate_is_accepted(settings: Settings, authority: TestAuthority) -> None:
    settings.CA_BUNDLE = str(authority.bundle)
    with wire_server(always(OK), tls=authority.server()) as server:
        assert get(f"https://localhost:{server.port}/").body == b"{}"


@pytest.mark.parametrize(
    ("host", "days", "trusted"),
    [("localhost", 30, False), ("other.example", 30, True), ("localhost", -1, True)],
    ids=["unknown authority", "another name", "expired"],
)
@pytest.mark.usefixtures("loopback_listed")
def test_a_certificate_that_is_not_trusted_ends_the_call_before_it_is_sent(
    settings: Settings, authority: TestAuthority, host: str, days: int, trusted: bool
) -> None:
    settings.CA_BUNDLE = str(authority.bundle) if trusted else ""
    context = authority.server(host=host, days=days)
    with wire_server(always(OK), tls=context) as server, pytest.raises(PlatformUnreachable) as unreachable:
        get(f"https://localhost:{server.port}/")
    assert server.received == []
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("tls_failed", False)


@pytest.mark.usefixtures("loopback_listed")
def test_a_server_without_tls_gets_nothing_over_https() -> None:
    with wire_server(then_close(OK)) as server, pytest.raises(PlatformUnreachable) as unreachable:
        get(f"https://127.0.0.1:{server.port}/", timeout=0.5)
    assert server.received == []
    assert unreachable.value.may_have_been_sent is False


def test_the_bundle_of_the_operating_system_is_found() -> None:
    bundle = Path(_system_ca_bundle())
    if not bundle.is_file():
        pytest.skip("this machine has no CA bundle")
    assert b"BEGIN CERTIFICATE" in bundle.read_bytes()


@pytest.mark.usefixtures("loopback_listed")
def test_a_ca_bundle_that_is_missing_is_said(settings: Settings, authority: TestAuthority, tmp_path: Path) -> None:
    settings.CA_BUNDLE = str(tmp_path / "missing.pem")
    with (
        wire_server(always(OK), tls=authority.server()) as server,
        pytest.raises(PlatformUnreachable, match="AGENTVALET_CA_BUNDLE"),
    ):
        get(f"https://localhost:{server.port}/")
    assert server.received == []
