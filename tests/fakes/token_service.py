"""A platform's token URL at the edge of the world: an HTTP service in a process of its own (RFC 6749, section 6).

    python token_service.py LOG TOKEN

It prints its port, appends one JSON line per request to LOG, and ends with its parent (its standard input closes). It
gives out TOKEN as the access token, good for an hour. The refresh token's first word says how: once-… is good for one
use and replaced, slow-… takes half a second, hiccup-… is in trouble the first time, single-… gives a token for one call, brief-… one for half a minute, other-… one that no platform takes, many-… another one each time,
refused-…, slack-refused-…, client-refused-…, busy-…, down-…, text-… and empty-… are answered so.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

LOG = Path(sys.argv[1])
TOKEN = sys.argv[2]
_lock = threading.Lock()
_used: set[str] = set()
_REFUSALS: dict[str, tuple[int, dict[str, object]]] = {
    "refused": (400, {"error": "invalid_grant", "error_description": "Token has been revoked."}),
    "slack-refused": (200, {"ok": False, "error": "invalid_refresh_token"}),
    "client-refused": (401, {"error": "invalid_client"}),
    "busy": (400, {"error": "temporarily_unavailable"}),
    "down": (503, {}),
    "empty": (200, {"token_type": "bearer"}),
}


def answer_to(refresh_token: str) -> tuple[int, dict[str, object]]:
    for refused, answer in _REFUSALS.items():
        if refresh_token.startswith(f"{refused}-"):
            return answer
    said: dict[str, object] = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
    match refresh_token.partition("-")[0]:
        case "once":
            with _lock:
                if refresh_token in _used:
                    return _REFUSALS["refused"]
                _used.add(refresh_token)
            said["refresh_token"] = f"{refresh_token}x"
        case "hiccup":
            with _lock:
                is_first = refresh_token not in _used
                _used.add(refresh_token)
            if is_first:
                return _REFUSALS["down"]
        case "slow":
            time.sleep(0.5)
        case "brief":
            said["expires_in"] = 30
        case "single":
            said["expires_in"] = 0
        case "many":
            with _lock:
                _used.add(f"{refresh_token} {len(_used)}")
                said["access_token"] = f"one-of-many-access-tokens-{len(_used)}"
        case "other":
            said["access_token"] = "a-token-that-no-platform-takes"
    return 200, said


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        sent = {name: values[0] for name, values in fields.items()}
        seen = {"path": self.path, "headers": dict(self.headers), "fields": sent}
        with _lock, LOG.open("a") as log:
            log.write(json.dumps(seen) + "\n")
        refresh_token = sent.get("refresh_token", "")
        status, said = answer_to(refresh_token)
        body = b"<html>maintenance</html>" if refresh_token.startswith("text-") else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Say nothing: LOG has it all."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
