"""Who lands on the pages for phones: whoever says so, unless the full page is asked for."""

from django.http import HttpRequest

from agents.middleware import wants_fragment


def lands_on_phone_pages(request: HttpRequest) -> bool:
    """`?full=1` is the way out, on every page for phones. Nothing is remembered: nobody gets stuck on either side."""
    if wants_fragment(request) or "full" in request.GET:
        return False
    return request.headers.get("Sec-CH-UA-Mobile") == "?1" or "Mobi" in request.headers.get("User-Agent", "")
