"""Light or dark by choice: a cookie, so that it holds for the pages without a session, too."""

from enum import StrEnum

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

_COOKIE = "theme"
_YEAR = 365 * 24 * 3600


class Theme(StrEnum):
    SYSTEM = ""  # as the device says
    LIGHT = "light"
    DARK = "dark"


def theme_of(request: HttpRequest) -> str:
    """What this browser has chosen; whatever else its cookie says counts as nothing."""
    said = request.COOKIES.get(_COOKIE, "")
    return said if said in set(Theme) else Theme.SYSTEM


def theme(request: HttpRequest) -> dict[str, str]:
    """A context processor."""
    return {"theme": theme_of(request)}


def remember(response: HttpResponseBase, choice: str) -> None:
    """Raises ValueError for what is no theme."""
    response.set_cookie(_COOKIE, Theme(choice), max_age=_YEAR, secure=settings.HTTPS, httponly=True, samesite="Lax")
