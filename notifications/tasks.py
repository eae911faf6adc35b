"""What Celery runs for the inbox. Each task reads the truth from the database, however often it comes."""

from typing import Any

from celery import shared_task
from django.utils import timezone

from notifications import uninstalls


@shared_task(name="notifications.sweep")
def sweep(**_: Any) -> None:
    """Settle what time has settled."""
    uninstalls.expire_due(now=timezone.now())
