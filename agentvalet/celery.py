"""The Celery app and its beat schedule."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentvalet.settings")

app = Celery("agentvalet")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["agentvalet", "approvals", "audit", "notifications"])
app.conf.beat_schedule = {
    "sweep-approvals": {"task": "approvals.sweep", "schedule": 2.0, "options": {"expires": 10}},
    "sweep-notifications": {"task": "notifications.sweep", "schedule": 5.0, "options": {"expires": 10}},
    "checkpoint-audit": {"task": "audit.checkpoint", "schedule": 60.0, "options": {"expires": 50}},
    "check-audit": {"task": "audit.check", "schedule": 30.0, "options": {"expires": 25}},
    "tidy": {"task": "agentvalet.tidy", "schedule": crontab(hour=3, minute=17), "options": {"expires": 3600}},
}
