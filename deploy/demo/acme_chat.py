"""Acme Chat, the demo's platform: a small HTTP service that keeps messages on disk and wants its token.

    python acme_chat.py STATE

STATE/token holds the bearer token. It writes STATE/messages.jsonl (what was posted and deleted), STATE/requests.jsonl
(one line per request, whatever its outcome) and STATE/platform.url (where it listens). Standard library only.
"""

import hmac
import json
import sys
import threading
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USUAL_PORT = 9101
LARGEST_BODY = 1_000_000  # bytes


class Store:
    """The messages and the record of requests, as JSON lines that are only ever appended to."""

    def __init__(self, folder: Path) -> None:
        self.token = (folder / "token").read_text().strip()
        self._messages = folder / "messages.jsonl"
        self._requests = folder / "requests.jsonl"
        self._lock = threading.Lock()

    def messages(self) -> list[dict]:
        kept: dict[str, dict] = {}
        lines = self._messages.read_text().splitlines() if self._messages.exists() else []
        for entry in map(json.loads, lines):
            if "deleted" in entry:
                kept.pop(entry["deleted"], None)
            else:
                kept[entry["id"]] = entry
        return list(kept.values())

    def post(self, *, channel: str, text: str) -> dict:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        message = {"id": uuid.uuid4().hex[:12], "channel": channel, "text": text, "at": at}
        self._append(self._messages, message)
        return message

    def delete(self, message_id: str) -> bool:
        if all(message["id"] != message_id for message in self.messages()):
            return False
        self._append(self._messages, {"deleted": message_id})
        return True

    def note_request(self, *, method: str, path: str, status: int, key: str | None) -> None:
        entry = {"method": method, "path": path, "status": status, "idempotency_key": key}
        self._append(self._requests, entry)

    def _append(self, file: Path, entry: dict) -> None:
        with self._lock, file.open("a") as out:
            out.write(json.dumps(entry) + "\n")


class Handler(BaseHTTPRequestHandler):
    """GET and POST /api/messages, DELETE /api/messages/<id>; JSON in, JSON out, bearer token wanted."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self._serve(lambda store, body: (HTTPStatus.OK, {"messages": store.messages()}), "/api/messages")

    def do_POST(self) -> None:
        self._serve(self._post, "/api/messages")

    def do_DELETE(self) -> None:
        folder, _, message_id = self.path.rpartition("/")
        self._serve(lambda store, body: self._delete(store, message_id), f"{folder}/{message_id}")

    @staticmethod
    def _post(store: Store, body: bytes) -> tuple[HTTPStatus, dict]:
        try:
            fields = json.loads(body)
            channel, text = fields["channel"], fields["text"]
        except (ValueError, KeyError, TypeError):
            channel = text = None
        if not isinstance(channel, str) or not isinstance(text, str) or not text:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "give channel and text, both strings"}
        return HTTPStatus.CREATED, {"ok": True, "message": store.post(channel=channel, text=text)}

    @staticmethod
    def _delete(store: Store, message_id: str) -> tuple[HTTPStatus, dict]:
        if store.delete(message_id):
            return HTTPStatus.OK, {"ok": True, "deleted": message_id}
        return HTTPStatus.NOT_FOUND, {"error": "no such message"}

    def _serve(self, action, path: str) -> None:
        store = self.server.store
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > LARGEST_BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "body too large or of unknown length"})
            return
        body = self.rfile.read(int(length))
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {store.token}".encode()):
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": "invalid_token"})
        elif self.path.partition("?")[0] != path or not path.startswith("/api/messages"):
            self._answer(HTTPStatus.NOT_FOUND, {"error": "no such resource"})
        else:
            self._answer(*action(store, body))

    def _answer(self, status: HTTPStatus, value: dict) -> None:
        self.server.store.note_request(
            method=self.command, path=self.path, status=status, key=self.headers.get("Idempotency-Key")
        )
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        print(self.address_string(), format % args, flush=True)


class Server(ThreadingHTTPServer):
    """Listens on the port of the last time if it is free, else on 9101, else on any."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        for port in (*self._last_port(folder), USUAL_PORT, 0):
            try:
                super().__init__(("127.0.0.1", port), Handler)
                break
            except OSError:
                continue
        (folder / "platform.port").write_text(str(self.server_port))
        (folder / "platform.url").write_text(f"http://127.0.0.1:{self.server_port}")

    @staticmethod
    def _last_port(folder: Path) -> list[int]:
        file = folder / "platform.port"
        return [int(file.read_text())] if file.exists() else []


if __name__ == "__main__":
    Server(Path(sys.argv[1])).serve_forever()
