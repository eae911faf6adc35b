"""Server-sent events that do not hold a web thread: the outcome if there is one, else a short look-out and goodbye.

Published clients connect again (uninstall) or go over to polling (registration) when a stream ends.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from django.http import StreamingHttpResponse
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from agents.errors import ApiError
from audit.events import JSON

HOLD = 2.0  # seconds until the stream ends without an outcome
STEP = 0.5  # seconds between two looks


class AnyAccept(DefaultContentNegotiation):
    """For views whose clients ask for text/event-stream: errors are JSON all the same."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


def watch(look: Callable[[datetime], Mapping[str, JSON] | None], *, now: datetime) -> StreamingHttpResponse:
    """Stream what `look(now)` finds. None means: not yet. Whatever `look` raises at once becomes the answer."""
    answer = StreamingHttpResponse(_events(look, look(now), now), content_type="text/event-stream")
    answer["Cache-Control"] = "no-store"
    answer["X-Accel-Buffering"] = "no"  # nginx would keep it until the end
    return answer


def _events(
    look: Callable[[datetime], Mapping[str, JSON] | None], found: Mapping[str, JSON] | None, now: datetime
) -> Iterator[str]:
    began = time.monotonic()
    if found is None:
        yield ": waiting\n\n"
    while found is None and time.monotonic() - began < HOLD:
        time.sleep(STEP)
        try:
            found = look(now + timedelta(seconds=time.monotonic() - began))
        except ApiError:  # the answer has begun: all that is left is to end it
            return
    if found is not None:
        yield f"data: {json.dumps(found)}\n\n"
