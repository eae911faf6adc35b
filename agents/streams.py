"""Server-sent events without a held thread: an answer says what is so at this moment, and ends.

Published clients connect again a second later (uninstall), or go over to polling (registration), when a stream ends.
Anybody can get a token to watch, so no answer may wait for anything.
"""

import json
from collections.abc import Iterable, Mapping

from django.http import HttpResponse
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from audit.events import JSON


class AnyAccept(DefaultContentNegotiation):
    """For views whose clients ask for text/event-stream: errors are JSON all the same."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


def event_stream(found: Mapping[str, JSON] | None) -> HttpResponse:
    """One event with what was found; None means not yet, which is a comment that clients skip."""
    text = ": waiting\n\n" if found is None else f"data: {json.dumps(found)}\n\n"  # the space is part of the contract
    return HttpResponse(
        text,
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx would keep it until the end
    )
