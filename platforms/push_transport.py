"""The way to push services: through the guarded client, because browsers name the address."""

from collections.abc import Mapping

from notifications.push import PushAnswer, PushUnreachable
from platforms.client import PlatformUnreachable, send

_FOR_GOOD = frozenset({"target_refused"})
_MAX_ANSWER = 64 * 1024  # bytes; nobody reads it


def post(*, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> PushAnswer:
    """See `notifications.push.Transport`."""
    try:
        answer = send(
            method="POST",
            url=url,
            headers=list(headers.items()),
            body=body,
            timeout=timeout,
            max_response_bytes=_MAX_ANSWER,
        )
    except PlatformUnreachable as error:
        raise PushUnreachable(str(error), for_good=error.code in _FOR_GOOD) from None
    except ValueError as error:
        raise PushUnreachable(str(error), for_good=True) from None
    return PushAnswer(answer.status, answer.headers.get("retry-after", ""))
