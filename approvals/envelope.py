"""The bodies that carry a platform's answer. Its JSON is spliced in as it came, byte for byte, never re-encoded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast
from uuid import UUID

from audit.events import JSON
from platforms.client import PlatformResponse
from platforms.coverage import Disclosure


class NotJSON(ValueError):
    """The bytes are not one strict JSON text in UTF-8."""


def _refuse_constant(name: str) -> None:
    raise NotJSON(name)  # NaN and Infinity are Python's, not JSON's (RFC 8259, section 6)


def parse_json(body: bytes) -> object:
    """`body` as strict JSON. Raises NotJSON."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotJSON from error


def json_text(body: bytes) -> str:
    """A JSON text for any body: itself if it is JSON, null if it is empty, else a string of its characters."""
    if not body.strip():
        return "null"
    try:
        parse_json(body)
    except NotJSON:
        return json.dumps(body.decode("utf-8", errors="replace"))
    return body.decode("utf-8")


def compact(value: JSON) -> str:
    return json.dumps(value, separators=(",", ":"))


def meta(
    *,
    audit_id: UUID,
    correlation_id: UUID,
    upstream_status: int,
    now: datetime,
    disclosure: Disclosure | None = None,
) -> dict[str, JSON]:
    """The `_meta` of an answer, as clients know it. `connection` is there only if the broker chose among several."""
    return {
        "capability": "agent.action",
        "timestamp": now.isoformat(),
        "next_actions": [],
        "audit_id": str(audit_id),
        "correlation_id": str(correlation_id),
        "upstream_status": upstream_status,
        **({} if disclosure is None else {"connection": cast(JSON, disclosure)}),
    }


def success(body: bytes, meta: Mapping[str, JSON]) -> str:
    """`{"data": <platform's body>, "_meta": {…}}`"""
    return _enveloped(json_text(body), meta)


def _enveloped(data: str, meta: Mapping[str, JSON]) -> str:
    return f'{{"data":{data},"_meta":{compact(meta)}}}'


@dataclass(frozen=True, slots=True)
class Answer:
    """A platform's answer, read: parsing megabytes is done before any lock is taken."""

    status: int
    data: str

    @classmethod
    def of(cls, response: PlatformResponse, disclosure: Disclosure | None) -> Self:
        """A platform's error is its own body; it gains the key `_agentvalet` only to disclose the connection."""
        body = response.body
        if not 200 <= response.status < 300 and disclosure is not None:
            body, _ = upstream_error(response, {"connection": cast(JSON, disclosure)})
        return cls(response.status, json_text(body))

    def outcome(self, meta: Mapping[str, JSON]) -> str:
        """What `result_json` holds: `{"status": …, "data": …}`. A success carries the envelope of a direct call."""
        data = _enveloped(self.data, meta) if 200 <= self.status < 300 else self.data
        return f'{{"status":{self.status},"data":{data}}}'


def upstream_error(response: PlatformResponse, note: Mapping[str, JSON]) -> tuple[bytes, str]:
    """Body and content type of a platform's 4xx or 5xx passed on.

    A JSON object gains the key `_agentvalet` as its last, which parsers let win over one of the platform's own, so that
    it cannot pass for an answer of ours; the rest of it is untouched. Anything that is not JSON travels as plain text,
    so that no markup of a platform ever runs here.
    """
    body = response.body.strip()
    try:
        value = parse_json(body)
    except NotJSON:
        return response.body, "text/plain; charset=utf-8"
    if not isinstance(value, dict):
        return body, "application/json"
    comma = b"," if value else b""
    return body[:-1] + comma + b'"_agentvalet":' + compact(
        {"upstream": True, **note}
    ).encode() + b"}", "application/json"
