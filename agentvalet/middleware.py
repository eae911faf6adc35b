"""What every request gets: an id that ties its log lines, its audit rows and its answer together, and one `now`."""

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from agents.http import stamped


class Stamp:
    """Sets `request_id` (UUID) and `now` on the request, X-Request-Id on the answer. A caller's own id is not taken."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        stamp = stamped(request)
        stamp.request_id = uuid.uuid4()
        stamp.now = timezone.now()
        response = self.get_response(request)
        response["X-Request-Id"] = str(stamp.request_id)
        return response
