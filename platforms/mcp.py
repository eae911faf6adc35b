"""MCP servers as platforms: one tool call over streamable HTTP, in JSON-RPC, and its result without the wrapping.

https://modelcontextprotocol.io/specification/2025-06-18/basic/transports. An agent's endpoint is `/<tool>`, its data
are the tool's arguments. The call opens a session of its own first, with messages that are always the same; only then
the tool is called, once.
"""

import json
import re
from collections.abc import Iterator, Sequence
from time import monotonic

from agents.strict_json import JSONObject, JSONRefused, read_json
from platforms import client
from platforms.client import PlatformResponse, PlatformUnreachable

ACCEPT = "application/json, text/event-stream"
SESSION = "mcp-session-id"
TOOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = "2025-06-18"
INITIALIZE = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": _VERSION,
            "capabilities": {},
            "clientInfo": {"name": "agentvalet-server", "version": "1"},
        },
    },
    separators=(",", ":"),
)
_INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}'
_CALL_ID = 1
_SESSION_ID = re.compile(r"[!-~]{1,512}")
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LINES = re.compile(r"\r\n|\n|\r")
_INTERNAL_ERROR = -32603  # JSON-RPC 2.0, section 5.1

Headers = Sequence[tuple[str, str]]


def call_of(tool: str, arguments: str) -> str:
    """The message that calls a tool with these arguments, a JSON object as it stands in the agent's text."""
    name = json.dumps(tool)
    return (
        f'{{"jsonrpc":"2.0","id":{_CALL_ID},"method":"tools/call","params":{{"name":{name},"arguments":{arguments}}}}}'
    )


def call_tool(*, url: str, headers: Headers, body: bytes, timeout: float, max_response_bytes: int) -> PlatformResponse:
    """Open a session, send the message in `body` in it, and return the tool's own result.

    A tool that says that it failed is a 422, an error of JSON-RPC a 400 (an internal one a 502), each with what the
    server said. A server that refuses the session with a status is answered for with that status: nothing was called.

    Raises:
        PlatformUnreachable: as `client.send` does; what goes wrong before the tool is called has reached no tool.
        ValueError: the call cannot be written as HTTP.
    """
    deadline = monotonic() + timeout
    plain = [pair for pair in headers if pair[0].lower() != "idempotency-key"]

    def post(message: bytes, more: Headers) -> PlatformResponse:
        return client.send(
            method="POST",
            url=url,
            headers=[*more],
            body=message,
            timeout=deadline - monotonic(),
            max_response_bytes=max_response_bytes,
            fresh=True,
        )

    host = url.partition("://")[2].partition("/")[0]
    try:
        opened = post(INITIALIZE.encode(), plain)
        if not 200 <= opened.status < 300:
            return opened
        session = _session_of(opened, host)
        post(_INITIALIZED.encode(), [*plain, *session])
        if deadline <= monotonic():
            raise PlatformUnreachable(
                f"{host} took all of the time to open a session.", code="upstream_timeout", may_have_been_sent=False
            )
    except PlatformUnreachable as error:
        raise PlatformUnreachable(str(error), code=error.code, may_have_been_sent=False) from None
    answer = post(body, [*headers, *session])
    return _unwrapped(answer, host) if 200 <= answer.status < 300 else answer


def _session_of(opened: PlatformResponse, host: str) -> Headers:
    """The headers of every message after the first."""
    message = _answer_to(0, opened.body)
    result = message.get("result") if message is not None else None
    if not isinstance(result, dict):
        raise PlatformUnreachable(
            f"{host} did not open an MCP session.", code="invalid_response", may_have_been_sent=False
        )
    version = result.get("protocolVersion")
    dated = version if isinstance(version, str) and _DATED.fullmatch(version) else _VERSION
    found = [("MCP-Protocol-Version", dated)]
    session = opened.headers.get(SESSION, "")
    if _SESSION_ID.fullmatch(session):
        found.append(("Mcp-Session-Id", session))
    return found


def _unwrapped(answer: PlatformResponse, host: str) -> PlatformResponse:
    """The tool's result as JSON, numbers and the order of keys as the server wrote them."""
    message = _answer_to(_CALL_ID, answer.body)
    if message is not None and isinstance(message.get("error"), dict):
        status = 502 if message["error"].get("code") == _INTERNAL_ERROR else 400
        return _answered(status, answer, f'{{"error":{message.source_of("error")}}}')
    result = _object(message.source_of("result")) if message is not None and "result" in message else None
    if result is None:
        raise PlatformUnreachable(
            f"{host} did not answer the call in MCP.", code="invalid_response", may_have_been_sent=True
        )
    if result.get("isError") is True:
        said = json.dumps(_text_of(result) or "The tool failed.", ensure_ascii=False)
        content = result.source_of("content") if "content" in result else "[]"
        return _answered(422, answer, f'{{"error":{said},"content":{content}}}')
    if isinstance(result.get("structuredContent"), dict):
        return _answered(200, answer, result.source_of("structuredContent"))
    text = _text_of(result)
    if text is None:
        return _answered(200, answer, result.source_of("content") if "content" in result else "null")
    try:
        read_json(text.encode())
    except (JSONRefused, UnicodeEncodeError):
        return _answered(200, answer, json.dumps(text))
    return _answered(200, answer, text)


def _answered(status: int, answer: PlatformResponse, body: str) -> PlatformResponse:
    return PlatformResponse(status=status, headers=answer.headers, body=body.encode("utf-8", "surrogatepass"))


def _text_of(result: JSONObject) -> str | None:
    """The only content, if it is a text."""
    content = result.get("content")
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return None
    text = content[0].get("text") if content[0].get("type") == "text" else None
    return text if isinstance(text, str) else None


def _answer_to(message_id: int, body: bytes) -> JSONObject | None:
    """The JSON-RPC response to our message among what was sent back: one message, or a stream of events."""
    for text in _messages(body):
        message = _object(text)
        if message is not None and message.get("id") == message_id and ("result" in message or "error" in message):
            return message
    return None


def _messages(body: bytes) -> Iterator[str]:
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("{"):
        yield text
        return
    data: list[str] = []
    for line in (*_LINES.split(text), ""):  # https://html.spec.whatwg.org/#parsing-an-event-stream
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


def _object(text: str) -> JSONObject | None:
    try:
        value = read_json(text.encode())
    except (JSONRefused, UnicodeEncodeError):
        return None
    return value if isinstance(value, JSONObject) else None
