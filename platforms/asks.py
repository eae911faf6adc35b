"""What agents ask an owner for: a scope they lack, or to become an agent at all."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models

from agents.models import Agent, Owner


class AccessStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"


class AccessRequestQuerySet(models.QuerySet["AccessRequest"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(agent__owner=owner)

    def for_agent(self, agent_id: str) -> Self:
        return self.filter(agent_id=agent_id)


class AccessRequest(models.Model):
    """An agent's wish for a scope. Platform and scope are its words: they need not exist.

    Its id is the `request_token` of the wire. It is no secret: only the agent that asked can read the row.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="access_requests")
    platform = models.CharField(max_length=63)
    scope = models.CharField(max_length=128, blank=True, help_text="Empty: whatever the owner finds right")
    reason = models.CharField(max_length=500, blank=True)
    status = models.CharField(max_length=20, choices=AccessStatus.choices, default=AccessStatus.PENDING)
    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=254, blank=True)

    objects: ClassVar[AccessRequestQuerySet] = AccessRequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=AccessStatus.values), name="access_status_known"),
            models.UniqueConstraint(
                fields=["agent", "platform", "scope"],
                condition=models.Q(status="pending"),
                name="access_one_pending_twin",
            ),
        ]
        indexes = [
            models.Index(fields=["agent", "created_at"], condition=models.Q(status="pending"), name="access_pending")
        ]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.platform}:{self.scope}"


class RegistrationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"


class RegistrationQuerySet(models.QuerySet["Registration"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)

    def waiting(self, now: datetime) -> Self:
        return self.filter(status=RegistrationStatus.PENDING, expires_at__gt=now)


class Registration(models.Model):
    """A program that asks to become an agent of an owner, without an invite.

    `owner` is empty where nobody has the id it named: such a registration waits and dies like any other, so that
    asking does not tell which ids exist.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    claimed_owner_id = models.UUIDField()
    owner = models.ForeignKey(Owner, models.CASCADE, null=True, related_name="registrations")
    token_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the token itself is not kept")
    agent_name = models.CharField(max_length=200)
    description = models.CharField(max_length=1000, blank=True)
    requested = models.JSONField(default=list, help_text='[{"platform": …, "scopes": […]}]: what it would like')
    address = models.GenericIPAddressField(null=True)
    status = models.CharField(max_length=20, choices=RegistrationStatus.choices, default=RegistrationStatus.PENDING)
    agent = models.OneToOneField(Agent, models.CASCADE, null=True, related_name="registration")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(help_text="Until then it waits; once decided, its token answers")
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=254, blank=True)
    claimed_at = models.DateTimeField(null=True, help_text="When the private key was handed out")

    objects: ClassVar[RegistrationQuerySet] = RegistrationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=RegistrationStatus.values), name="registration_status_known"
            ),
            models.CheckConstraint(
                condition=models.Q(status="approved") ^ models.Q(agent__isnull=True),
                name="registration_approved_has_agent",
            ),
        ]
        indexes = [
            models.Index(
                fields=["claimed_owner_id", "expires_at"],
                condition=models.Q(status="pending"),
                name="registration_waiting",
            ),
            models.Index(fields=["expires_at"], name="registration_due"),
        ]

    def __str__(self) -> str:
        return self.agent_name
