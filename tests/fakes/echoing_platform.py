"""A platform that tells everybody what it was told: every answer repeats the request, credential and all.

    python echoing_platform.py LOG

It prints its port, appends one JSON line per request to LOG, and ends with its parent (its standard input closes).
Headers repeat it too, those that servers like to pass on above all.

/status/503 answers with that status, /redirect with a 302 to an address that holds the credential, /cut with half of
what it announced, /slow/2.5 after that many seconds; anything else with 200.
"""

import base64
import contextlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

LOG = Path(sys.argv[1])
_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = {"path": self.path, "read": unquote(self.path), "headers": dict(self.headers), "body": body}
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            told |= {"user": user, "password": password}
        with _lock, LOG.open("a") as log:
            log.write(json.dumps(told) + "\n")
        kind, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        if kind == "slow":
            time.sleep(float(argument))
        echo = json.dumps(told).encode()
        self.send_response({"status": int(argument or 0), "redirect": 302}.get(kind, 200) or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", f"/elsewhere?told={value}")
        said = json.dumps(dict(self.headers))
        for name in ("X-Told", "Retry-After", "ETag", "X-Request-Id"):
            self.send_header(name, said)
        self.send_header("Link", f"<http://{self.headers['Host']}{self.path}&page=2>; rel=next")
        self.send_header("Content-Length", str(len(echo) * (2 if kind == "cut" else 1)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the worker that asked was killed
            self.wfile.write(echo)
        self.close_connection = kind == "cut"

    do_GET = do_POST = answer  # noqa: N815 - the names http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Say nothing: LOG has it all."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
