"""What people are told and asked: the inbox, agents' reports about themselves, agents that ask to be uninstalled."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models

import notifications.deliveries
import notifications.devices  # noqa: F401 - Django finds the models there through this module
from agents.models import Agent, Owner


class Notification(models.Model):
    """A line in an owner's inbox: a title and a place to go. It holds nothing secret."""

    owner = models.ForeignKey(Owner, models.CASCADE, related_name="notifications")
    tag = models.CharField(max_length=100, help_text="What it is about; a newer one with the same tag replaces it")
    title = models.CharField(max_length=300)
    body = models.CharField(max_length=300, blank=True, default="", db_default="")
    url = models.CharField(max_length=300)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Until when it is of use to tell anybody")
    remind_at = models.DateTimeField(null=True, blank=True, help_text="When to tell those who have not seen it again")
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "tag"], name="notification_owner_tag_unique")]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="notification_inbox"),
            models.Index(
                fields=["remind_at"],
                condition=models.Q(remind_at__isnull=False, withdrawn_at__isnull=True),
                name="notification_remind",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def is_over(self, now: datetime) -> bool:
        """Settled, or out of time: nobody is told any more."""
        return self.withdrawn_at is not None or (self.expires_at is not None and now >= self.expires_at)


class Severity(models.TextChoices):
    DEBUG = "debug", "Debug"
    INFO = "info", "Info"
    WARN = "warn", "Warning"
    ERROR = "error", "Error"
    CRITICAL = "critical", "Critical"


class AgentReportQuerySet(models.QuerySet["AgentReport"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)


class AgentReport(models.Model):
    """What an agent says about itself, in its own words: shown to people, believed by nobody."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="agent_reports")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="reports")
    severity = models.CharField(max_length=20, choices=Severity.choices)
    message = models.TextField()
    code = models.CharField(max_length=128, blank=True)
    platform = models.CharField(max_length=200, blank=True)
    endpoint = models.CharField(max_length=8192, blank=True)
    correlation_id = models.UUIDField(null=True, blank=True, help_text="The request that went wrong, if it was ours")
    context = models.TextField(blank=True, help_text="JSON text as received")
    session_id = models.CharField(max_length=128, blank=True)
    received_at = models.DateTimeField()

    objects: ClassVar[AgentReportQuerySet] = AgentReportQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(severity__in=Severity.values), name="report_severity_known")
        ]
        indexes = [models.Index(fields=["owner", "-received_at"], name="report_of_owner")]

    def __str__(self) -> str:
        return f"{self.severity} of {self.agent_id}"


class UninstallStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    TIMEOUT = "timeout", "Timed out"


class UninstallRequestQuerySet(models.QuerySet["UninstallRequest"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)

    def pending(self, now: datetime) -> Self:
        return self.filter(status=UninstallStatus.PENDING, expires_at__gt=now)


class UninstallRequest(models.Model):
    """An agent on its way off a machine asks to be revoked. Whoever holds the token may watch what becomes of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="uninstall_requests")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="uninstall_requests")
    token_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the token itself is not kept")
    reason = models.CharField(max_length=500, blank=True)
    status = models.CharField(max_length=20, choices=UninstallStatus.choices, default=UninstallStatus.PENDING)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=254, blank=True)

    objects: ClassVar[UninstallRequestQuerySet] = UninstallRequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=UninstallStatus.values), name="uninstall_status_known"
            ),
            models.UniqueConstraint(
                fields=["agent"], condition=models.Q(status=UninstallStatus.PENDING), name="uninstall_one_pending"
            ),
        ]
        indexes = [models.Index(fields=["owner", "-created_at"], name="uninstall_of_owner")]

    def __str__(self) -> str:
        return f"{self.status} uninstall of {self.agent_id}"
