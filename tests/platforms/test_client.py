"""The client sends what it is told, once, and survives whatever comes back."""

import gzip
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from platforms.client import PlatformResponse, PlatformUnreachable, send
from tests.platforms.wire_server import OK, Answer, Received, always, then_close, wire_server

pytestmark = pytest.mark.usefixtures("loopback_listed")
LIMIT = 1000


def call(
    url: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 5, fresh: bool = False
) -> PlatformResponse:
    headers = [("Content-Type", "application/json")] if body is not None else []
    return send(
        method=method, url=url, headers=headers, body=body, timeout=timeout, max_response_bytes=LIMIT, fresh=fresh
    )


def failure(answer: Answer, *, method: str = "POST", timeout: float = 5) -> PlatformUnreachable:
    """What a call to a server with this answer fails with; exactly one request reached it."""
    with wire_server(answer) as server:
        with pytest.raises(PlatformUnreachable) as unreachable:
            call(f"{server.url}/path?api_key=s3cret", method=method, body=b"{}", timeout=timeout)
        assert len(server.received) == 1
    assert "s3cret" not in str(unreachable.value)
    assert "/path" not in str(unreachable.value)
    assert unreachable.value.may_have_been_sent is True
    return unreachable.value


def test_a_request_is_sent_as_given_and_nothing_is_added() -> None:
    with wire_server(always(OK)) as server:
        response = send(
            method="POST",
            url=f"{server.url}/a/../b%2Fc?d=[e]&f",
            headers=[
                ("Authorization", "Bearer x"),
                ("Content-Type", "application/json"),
                ("X-Empty", ""),
                ("X-Latin", "\u00e9"),
            ],
            body=b'{"a": "\x00"}',
            timeout=5,
            max_response_bytes=LIMIT,
        )
    assert response == PlatformResponse(status=200, headers={}, body=b"{}")
    head = server.received[0].head.split(b"\r\n")
    assert head[0] == b"POST /a/../b%2Fc?d=[e]&f HTTP/1.1"
    assert sorted(head[1:]) == sorted(
        [
            b"Host: 127.0.0.1:%d" % server.port,
            b"User-Agent: agentvalet-server",
            b"Accept: */*",
            b"Authorization: Bearer x",
            b"Content-Type: application/json",
            b"X-Empty:",
            b"X-Latin: \xe9",
            b"Content-Length: 10",
        ]
    )
    assert server.received[0].body == b'{"a": "\x00"}'


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", None, []),
        ("DELETE", None, []),
        ("HEAD", None, []),
        ("OPTIONS", None, []),
        ("POST", None, [b"0"]),
        ("PUT", None, [b"0"]),
        ("PATCH", None, [b"0"]),
        *[(method, b"{}", [b"2"]) for method in ("GET", "DELETE", "POST", "PUT", "PATCH")],
    ],
)
def test_every_method_is_sent_with_and_without_a_body(method: str, body: bytes | None, length: list[bytes]) -> None:
    with wire_server(always(OK)) as server:
        assert call(server.url, method=method, body=body).body == (b"" if method == "HEAD" else b"{}")
    assert server.received[0].request_line == f"{method} / HTTP/1.1".encode()
    assert server.received[0].header(b"content-length") == length
    assert server.received[0].header(b"content-type") == ([b"application/json"] if body else [])
    assert server.received[0].body == (body or b"")


def test_a_large_body_is_sent_without_asking_first() -> None:
    with wire_server(always(OK)) as server:
        call(server.url, method="POST", body=b"x" * 3_000_000)
    assert len(server.received[0].body) == 3_000_000
    assert server.received[0].header(b"expect") == []


@pytest.mark.parametrize("status", [200, 202, 204, 304, 400, 401, 404, 417, 429, 500, 503])
def test_any_status_is_an_answer(status: int) -> None:
    with wire_server(
        then_close(f"HTTP/1.1 {status} Fine\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".encode())
    ) as server:
        response = call(server.url, method="POST", body=b"{}")
    assert (response.status, dict(response.headers), response.body) == (status, {"retry-after": "7"}, b"")
    assert len(server.received) == 1


def test_only_the_listed_headers_of_the_last_answer_are_kept() -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\nRetry-After: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nRetry-After: 2\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nCONTENT-TYPE:  text/plain \r\nSet-Cookie: a=b\r\nLocation: /x\r\nX-Other: y\r\n"
        b"RETRY-AFTER:  3 \r\nRetry-After: r\xe9\r\nLink: </a>\r\nETag: x\r\nX-Request-Id: y\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n0\r\nRetry-After: 4\r\nHTTP/1.1 500 Late: x\r\nRetry-After: 5\r\n\r\n"
    )
    with wire_server(always(answer)) as server:
        response = call(server.url)
    assert response.body == b"ab"
    assert response.headers == {"retry-after": "3, r\u00e9"}


def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 500_000)
    assert len(bomb) < LIMIT
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with wire_server(always(head + bomb)) as server:
        assert call(server.url).body == bomb
    assert server.received[0].header(b"accept-encoding") == []


def test_an_answer_of_exactly_the_limit_is_taken() -> None:
    with wire_server(then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * LIMIT)) as server:
        assert len(call(server.url).body) == LIMIT
    with wire_server(then_close(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * LIMIT)) as server:
        assert len(call(server.url).body) == LIMIT


def test_a_limit_of_nothing_takes_nothing() -> None:
    with wire_server(always(OK)) as server, pytest.raises(PlatformUnreachable, match="larger than 0 bytes"):
        send(method="GET", url=server.url, headers=(), body=None, timeout=5, max_response_bytes=0)


def for_ever(start: bytes, again: bytes, *, pause: float = 0) -> Answer:
    """`start`, then `again` until the client goes away."""

    def answer(_request: Received, send: Callable[[bytes], None]) -> None:
        send(start)
        while True:
            send(again)
            time.sleep(pause)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001),
        then_close(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001),
        for_ever(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", b"x" * 65536),
        for_ever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
        for_ever(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        then_close(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n"),
        for_ever(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n"),
        for_ever(b"HTTP/1.1 200 OK\r\n", b"X-Long: " + b"y" * 9000 + b"\r\n"),
        for_ever(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"y" * 1000),
        for_ever(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        for_ever(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: y\r\n"),
    ],
    ids=[
        "declared",
        "undeclared",
        "10 GiB",
        "endless chunks",
        "endless",
        "many headers",
        "endless headers",
        "long headers",
        "an endless header",
        "endless hints",
        "endless trailers",
    ],
)
def test_an_answer_over_the_limit_is_cut(answer: Answer) -> None:
    assert failure(answer, timeout=20).code == "response_too_large"


@pytest.mark.parametrize(
    "answer",
    [
        for_ever(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"x", pause=0.02),
        for_ever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.02),
        for_ever(b"", b"", pause=0.02),
    ],
    ids=["body", "headers", "silence"],
)
def test_a_slow_answer_is_cut_at_the_timeout(answer: Answer) -> None:
    start = time.monotonic()
    unreachable = failure(answer, timeout=0.4)
    assert unreachable.code == "upstream_timeout"
    assert "0.4 s" in str(unreachable)
    assert time.monotonic() - start < 3


def reset(_request: Received, _send: Callable[[bytes], None]) -> None:
    """Ends the connection with a reset instead of an orderly close."""
    connection = _send.__self__  # type: ignore[attr-defined] # sendall is a bound method of the socket
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "answer",
    [
        then_close(b""),
        then_close(b"HTTP/1.1 200 OK\r\nContent-Le"),
        then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"),
        then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n"),
        then_close(b"HTTP/1.1 100 Continue\r\n\r\n"),
        reset,
    ],
    ids=["nothing", "half a header", "half a body", "half a chunk", "a broken chunk", "only a 1xx", "reset"],
)
def test_an_answer_cut_short_is_a_lost_connection(answer: Answer) -> None:
    assert failure(answer).code == "connection_lost"


@pytest.mark.parametrize(
    "answer",
    [
        then_close(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        then_close(b"<html>hello</html>"),
        then_close(b"HTTP/1.1 abc OK\r\n\r\n"),
        then_close(b"HTTP/1.1 99 OK\r\n\r\n"),
        then_close(b"HTTP/9.9 200 OK\r\n\r\n"),
        then_close(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n"),
        then_close(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
        then_close(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
        then_close(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        then_close(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"),
    ],
)
def test_what_is_not_http_is_an_invalid_response(answer: Answer) -> None:
    assert failure(answer).code == "invalid_response"


def test_a_closed_port_means_that_nothing_was_sent() -> None:
    with wire_server(always(OK)) as server:
        pass
    with pytest.raises(PlatformUnreachable) as unreachable:
        call(server.url, method="POST", body=b"{}")
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("connect_failed", False)


def test_a_name_without_an_address_means_that_nothing_was_sent() -> None:
    with pytest.raises(PlatformUnreachable) as unreachable:
        call(f"http://{'a' * 64}.example/", method="POST", body=b"{}")
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("connect_failed", False)


def test_a_tls_handshake_that_hangs_means_that_nothing_was_sent() -> None:
    with wire_server(always(OK)) as server, pytest.raises(PlatformUnreachable) as unreachable:
        call(server.url.replace("http:", "https:"), method="POST", body=b"{}", timeout=0.3)
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("upstream_timeout", False)


def test_connecting_has_a_time_of_its_own_within_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platforms.client.CONNECT_TIMEOUT", 0.3)
    with (
        wire_server(always(OK)) as server,
        pytest.raises(PlatformUnreachable, match=r"connected to within 0.3 s") as late,
    ):
        call(server.url.replace("http:", "https:"), timeout=60)  # the listener never begins with TLS
    assert (late.value.code, late.value.may_have_been_sent) == ("upstream_timeout", False)
    with (
        wire_server(for_ever(b"", b"", pause=0.02)) as server,
        pytest.raises(PlatformUnreachable, match=r"answer within 0.6 s"),
    ):
        call(server.url, timeout=0.6)  # once connected, an answer may take longer than that


def dies_on_second(request: Received, _send: Callable[[bytes], None]) -> bytes | None:
    """Keeps the connection open after the first request and closes it, without an answer, after the second."""
    return OK if request.on_connection == 1 else None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_unsafe_request_is_never_sent_twice_on_a_kept_connection_that_dies(method: str) -> None:
    with wire_server(dies_on_second) as server:
        call(server.url)
        for _ in range(3):
            assert call(server.url, method=method, body=b"{}").status == 200
    assert len(server.received) == 4
    assert {request.on_connection for request in server.received} == {1}


def test_a_fresh_request_of_any_method_is_never_sent_twice() -> None:
    with wire_server(dies_on_second) as server:
        for _ in range(3):
            assert call(server.url, fresh=True).status == 200
    assert [request.on_connection for request in server.received] == [1, 1, 1]


def test_a_safe_request_survives_a_kept_connection_that_died() -> None:
    with wire_server(dies_on_second) as server:
        assert [call(server.url).status for _ in range(2)] == [200, 200]
    assert [request.on_connection for request in server.received] == [1, 2, 1]


def test_safe_requests_share_a_connection() -> None:
    with wire_server(always(OK)) as server:
        for _ in range(3):
            call(server.url)
    assert (server.connections, len(server.received)) == (1, 3)


def test_an_answer_nobody_asked_for_is_not_given_to_the_next_call() -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    with wire_server(lambda request, _send: OK + poison if request.number == 1 else OK) as server:
        assert call(server.url).body == b"{}"
        assert call(server.url).body == b"{}"
    assert server.connections == 2


def test_threads_do_not_share_answers() -> None:
    def echo(request: Received, _send: Callable[[bytes], None]) -> bytes:
        path = request.request_line.split(b" ")[1]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path)

    wrong: list[bytes] = []

    def work(number: int) -> None:
        for at in range(20):
            body = call(f"{server.url}/{number}/{at}").body
            if body != b"/%d/%d" % (number, at):
                wrong.append(body)

    with wire_server(echo) as server:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert (server.connections, len(server.received)) == (6, 120)


def test_a_process_without_free_descriptors_sends_nothing_and_says_so() -> None:
    with wire_server(always(OK)) as server:
        call(server.url)  # what is made at the first use is there
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with pytest.raises(PlatformUnreachable) as unreachable:
                call(server.url, method="POST", body=b"{}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (unreachable.value.code, unreachable.value.may_have_been_sent) == ("connect_failed", False)
    assert len(server.received) == 1
