"""What every request gets: an id that ties its log lines, its audit rows and its answer together."""

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class RequestId:
    """Sets `request.request_id` (UUID) and the X-Request-Id response header. A caller's own id is not taken over."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = uuid.uuid4()
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-Id"] = str(request_id)
        return response
