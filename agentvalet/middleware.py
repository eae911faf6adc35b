"""What every request gets and every answer says, and which bodies are not read at all."""

import uuid
from collections.abc import Callable
from typing import IO, Any, Never

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from agents.http import stamped
from agentvalet import errors


class Stamp:
    """Sets `request_id` (UUID) and `now` on the request, X-Request-Id on the answer. A caller's own id is not taken.

    Also says that this name is reached by HTTPS only. Django would say it where the request itself came by HTTPS, and
    behind the proxy that ends TLS none does.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        stamp = stamped(request)
        stamp.request_id = uuid.uuid4()
        stamp.now = timezone.now()
        response = self.get_response(request)
        response["X-Request-Id"] = str(stamp.request_id)
        if settings.SECURE_HSTS_SECONDS:
            response["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
        return response


class BoundedBody:
    """Refuses a body before anything reads it, the CSRF check among others, which is there for strangers too.

    The agent API reads no more than the limit (`agentvalet.api.StrictJSONParser`) and puts it on record.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "Transfer-Encoding" in request.headers:
            return errors.length_required(request)  # it would be read as empty
        if not request.path.startswith(errors.API_PREFIXES) and _length(request) > settings.MAX_REQUEST_BYTES:
            return errors.body_too_large(request)
        return self.get_response(request)


def _length(request: HttpRequest) -> int:
    try:
        return int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return 0  # as Django reads it: there is no body


class RefuseFiles(FileUploadHandler):
    """No form of ours takes a file, so none is ever written to the disk: 400."""

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: dict[str, str],  # noqa: N803 - the name Django calls it by
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> tuple[Any, Any] | None:
        return None

    def new_file(self, *args: Any, **kwargs: Any) -> Never:
        raise SuspiciousFileOperation("A file was sent, and nothing here takes one.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        return None

    def file_complete(self, file_size: int) -> None:
        return None
