"""What Celery runs for the whole installation, once a day."""

from importlib import import_module
from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from agents import passkeys
from approvals import idempotency
from notifications import inbox, reports
from platforms import registrations


@shared_task(name="agentvalet.tidy")
def tidy(**_: Any) -> None:
    """Remove what nobody can see or use any more."""
    now = timezone.now()
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    inbox.prune(now=now)
    idempotency.prune(now=now)
    passkeys.forget_challenges(now=now)
    registrations.prune(now=now)
    reports.prune(now=now)
