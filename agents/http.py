"""What our requests carry beyond Django's: the id and the one `now`, stamped on by `agentvalet.middleware`."""

from datetime import datetime
from ipaddress import ip_address
from typing import cast
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request


class StampedRequest(HttpRequest):
    request_id: UUID
    now: datetime


def stamped(request: Request | HttpRequest) -> StampedRequest:
    """The stamped request behind Django's or DRF's."""
    return cast(StampedRequest, request._request if isinstance(request, Request) else request)


def client_address(request: HttpRequest) -> str | None:
    """Where the request came from: the peer, or what the operator's own AGENTVALET_PROXY_HOPS proxies say.

    Each proxy appends the address it saw to X-Forwarded-For; whatever stands further left is the caller's invention.
    """
    seen = [request.META.get("REMOTE_ADDR", "")]
    if settings.PROXY_HOPS:
        seen = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")][-settings.PROXY_HOPS :]
    try:
        return str(ip_address(seen[0]))
    except ValueError:
        return None
