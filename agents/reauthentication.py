"""Whether the person at the screen has just shown again who they are: for what a found session must not be enough for.

Signing in does not count: the machine may have been left right after it.
"""

from datetime import datetime, timedelta

from django.http import HttpRequest

WINDOW = timedelta(minutes=5)
_KEY = "confirmed_at"


def note_confirmed(request: HttpRequest, *, now: datetime) -> None:
    """The password was right, or a passkey has signed. The session gets a new key: a copied cookie is worth nothing."""
    request.session.cycle_key()
    request.session[_KEY] = now.timestamp()


def is_confirmed(request: HttpRequest, *, now: datetime) -> bool:
    at = request.session.get(_KEY)
    return isinstance(at, float) and now.timestamp() - WINDOW.total_seconds() < at <= now.timestamp()
