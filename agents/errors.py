"""The one way to refuse an API call: a status and the error envelope that clients know."""

from collections.abc import Mapping

from rest_framework.exceptions import APIException

from audit.events import JSON


class ApiError(APIException):
    """A refusal. `agentvalet.api.exception_handler` turns it into the answer and adds the correlation id.

    `error` is one sentence that says what is wrong; `reason` (403) and `code` are words of the wire contract.
    """

    def __init__(
        self,
        status: int,
        error: str,
        *,
        reason: str = "",
        code: str = "",
        extra: Mapping[str, JSON] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error, code or reason or None)
        self.status_code = status
        self.error = error
        self.reason = reason
        self.code = code
        self.extra = extra or {}
        self.headers = headers or {}
