"""The only way out: one HTTP request to a platform, from a guarded pycurl handle per thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlatformResponse:
    """What the platform answered. `headers` holds the allow-listed ones under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PlatformUnreachable(Exception):
    """No complete answer came. str() is one sentence without credentials, path or query."""

    def __init__(self, message: str, *, code: str, may_have_been_sent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.may_have_been_sent = may_have_been_sent


def send(
    *,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | None,
    timeout: float,
    max_response_bytes: int,
    fresh: bool = False,
) -> PlatformResponse:
    """Send one request and return its answer, whatever the status. Raises PlatformUnreachable."""
    raise NotImplementedError
