"""A platform at the edge of the world: an HTTP service in a process of its own that writes down what it is sent.

    python counting_platform.py LOG

It prints its port, appends one JSON line per request to LOG, and ends with its parent (its standard input closes).
The path says what to answer: /status/503 the status, /redirect a 302, /text no JSON, /empty an empty 204, /list an
array, /own an answer of its own, /echo the headers it got, /cut half a body, /slow/2.5 after that many seconds;
anything else is 200 JSON.
A request without the right `Authorization: Bearer <TOKEN>` (argument 2) is a 401.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOG = Path(sys.argv[1])
TOKEN = sys.argv[2]
_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:  # noqa: PLR0912 - one branch for each kind of answer
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body.decode()}
        with _lock, LOG.open("a") as log:
            log.write(json.dumps(seen) + "\n")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.reply(401, b'{"error":"bad token"}')
            return
        kind, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        match kind:
            case "status":
                self.reply(int(argument), json.dumps({"status_was": int(argument)}).encode(), retry_after="7")
            case "redirect":
                self.reply(302, b"{}", location="/elsewhere")
            case "text":
                self.reply(200, b"plain words", content_type="text/plain")
            case "html":
                self.reply(500, b"<script>alert(1)</script>", content_type="text/html")
            case "empty":
                self.reply(204, b"")
            case "list":
                self.reply(200, b"[1, 2, 3]")
            case "own":
                self.reply(403, b'{"error":"Permission denied","reason":"agent_revoked","_agentvalet":null}')
            case "exact":
                self.reply(200, b'{"big":12345678901234567890.10, "b":1, "a":"\\u00e9"}')
            case "echo":
                self.reply(200, json.dumps({"headers": dict(self.headers)}).encode())
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"half":')
                self.close_connection = True
            case "slow":
                time.sleep(float(argument))
                self.reply(200, b'{"late":true}')
            case _:
                self.reply(200, b'{"id":7,"ok":true}')

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names http.server asks for

    def reply(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "application/json",
        retry_after: str = "",
        location: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Say nothing: LOG has it all."""


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: callers that are killed hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
