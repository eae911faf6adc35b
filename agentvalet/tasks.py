"""What Celery runs for the whole installation, once a day."""

from importlib import import_module
from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from approvals import idempotency
from notifications import inbox


@shared_task(name="agentvalet.tidy")
def tidy(**_: Any) -> None:
    """Remove what nobody can see or use any more: sessions that have ended, lines long out of the inbox, old keys."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    inbox.prune(now=timezone.now())
    idempotency.prune(now=timezone.now())
