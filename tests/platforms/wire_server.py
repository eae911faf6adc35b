"""A platform at the edge of the world: a real listener on loopback that answers byte by byte as a test says."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Received:
    """One request as it came in. `number` counts from 1 over all connections, `on_connection` on its own one."""

    number: int
    on_connection: int
    head: bytes
    body: bytes

    @property
    def request_line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    def header(self, name: bytes) -> list[bytes]:
        """All values of the header `name`, which is given in lower case."""
        pairs = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [value.strip() for key, _, value in pairs if key.lower() == name]


# Gets the request and a function that sends bytes; what it returns is sent too, None closes the connection.
Answer = Callable[[Received, Callable[[bytes], None]], bytes | None]


def always(answer: bytes) -> Answer:
    """The same bytes for every request, on connections that stay open."""
    return lambda _request, _send: answer


def then_close(answer: bytes) -> Answer:
    """The same bytes for every request, then the end of the connection."""

    def reply(_request: Received, send: Callable[[bytes], None]) -> None:
        send(answer)

    return reply


@dataclass
class WireServer:
    """Counts what reaches it."""

    port: int
    connections: int = 0
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def wire_server(
    answer: Answer, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[WireServer]:
    """A running server; port 0 takes a free one. A failed TLS handshake counts as a connection and as no request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    stopping = threading.Event()
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if tls is None:
                _converse(connection, server, answer)
                return
            with tls.wrap_socket(connection, server_side=True) as wrapped:
                open_sockets.append(wrapped)
                _converse(wrapped, server, answer)

    def accept() -> None:
        while not stopping.is_set():
            connection, _ = listener.accept()
            if stopping.is_set():
                connection.close()
                return
            server.connections += 1
            open_sockets.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
        server = WireServer(port=listener.getsockname()[1])
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield server
        finally:
            stopping.set()
            socket.create_connection((host, server.port)).close()  # wakes accept()
            threads[0].join(timeout=10)
            for each in open_sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(timeout=10)


def _converse(connection: socket.socket, server: WireServer, answer: Answer) -> None:
    buffer = b""
    on_connection = 0
    while True:
        while b"\r\n\r\n" not in buffer:
            chunk = connection.recv(65536)
            if not chunk:
                return
            buffer += chunk
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while length and len(buffer) < int(length[1]):
            buffer += connection.recv(65536)
        size = int(length[1]) if length else 0
        on_connection += 1
        request = Received(number=len(server.received) + 1, on_connection=on_connection, head=head, body=buffer[:size])
        buffer = buffer[size:]
        server.received.append(request)
        reply = answer(request, connection.sendall)
        if reply is None:
            return
        connection.sendall(reply)
