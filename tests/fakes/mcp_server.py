"""An MCP server at the edge of the world: streamable HTTP in a process of its own that writes down what it is sent.

    python mcp_server.py LOG TOKEN

It prints its port, appends one JSON line per request to LOG, and ends with its parent (its standard input closes). It
wants `Authorization: Bearer TOKEN`, and of every message after the first the session that it has given out. The path
says how it answers: /sse in a stream of events with others before the answer, /closed with 403 to the first message,
/lost with half of an answer to the call, /odd with something else than MCP; anything else is plain JSON. Its tools:
echo, text, words, many, fails; a tool that it does not know is an error of JSON-RPC.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOG = Path(sys.argv[1])
TOKEN = sys.argv[2]
SESSION = "a-session-0123456789"
_lock = threading.Lock()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def result_of(tool: str, arguments: str) -> str:
    """The member of the answer, as text: numbers go back as they came."""
    match tool:
        case "echo":
            content = json.dumps([text(arguments)])
            return f'"result":{{"content":{content},"structuredContent":{arguments}}}'
        case "text":
            return f'"result":{json.dumps({"content": [text(arguments)]})}'
        case "words":
            return f'"result":{json.dumps({"content": [text("plain words")]})}'
        case "many":
            return f'"result":{json.dumps({"content": [text("one"), text("two")]})}'
        case "fails":
            return f'"result":{json.dumps({"content": [text("no such room")], "isError": True})}'
        case _:
            return '"error":{"code":-32602,"message":"Unknown tool"}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        with _lock, LOG.open("a") as log:
            log.write(json.dumps({"path": self.path, "headers": dict(self.headers), "body": body}) + "\n")
        message = json.loads(body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.reply(401, "{}")
        elif "text/event-stream" not in self.headers.get("Accept", ""):
            self.reply(406, "{}")
        elif message["method"] == "initialize":
            self.open()
        elif (self.headers.get("Mcp-Session-Id"), self.headers.get("MCP-Protocol-Version")) != (SESSION, "2025-03-26"):
            self.reply(400, '{"error":"no session"}')
        elif message["method"] == "notifications/initialized":
            self.reply(202, "")
        else:
            self.call(message, body.partition('"arguments":')[2][:-2])

    def open(self) -> None:
        if self.path == "/closed":
            self.reply(403, '{"error":"not for you"}')
        elif self.path == "/odd":
            self.reply(200, "<html>hello</html>")
        else:
            self.answer('{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26","capabilities":{}}}')

    def call(self, message: dict[str, Any], arguments: str) -> None:
        answer = f'{{"jsonrpc":"2.0","id":1,{result_of(message["params"]["name"], arguments)}}}'
        self.answer(answer[:30] if self.path == "/lost" else answer)

    def answer(self, message: str) -> None:
        if self.path == "/sse":
            noise = ': hello\n\nevent: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'
            message = f"{noise}id: 7\r\ndata: {message[:17]}\r\ndata: {message[17:]}\r\n\r\n"
        self.reply(200, message)

    def reply(self, status: int, body: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Mcp-Session-Id", SESSION)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server uses
        """Say nothing: LOG has it all."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
