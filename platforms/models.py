"""What may be called and how: platforms, their scopes, the connections that hold credentials, and the grants."""

import uuid
from typing import ClassVar, Self
from uuid import UUID

from django.core.validators import RegexValidator
from django.db import models

from agents.models import Agent, Owner

SLUG = RegexValidator(r"^[a-z0-9][a-z0-9-]{0,62}\Z", "Use a-z, 0-9 and '-', at most 63 characters.")
SCOPE_NAME = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z", "Use letters, digits and . _ : / -, at most 128.")


class Platform(models.Model):
    """A service that agents may call: where it is and how it wants to be authenticated."""

    owner = models.ForeignKey(Owner, models.CASCADE, related_name="platforms")
    slug = models.CharField(max_length=63, validators=[SLUG], help_text="The platform id on the wire")
    name = models.CharField(max_length=200)
    base_url = models.URLField(max_length=500)
    auth = models.JSONField(help_text='{"type": "bearer" | "header" | "query" | "basic", "name": …}')
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "slug"], name="platform_owner_slug_unique")]

    def __str__(self) -> str:
        return self.slug


class Scope(models.Model):
    """A named permission: the method and path patterns that it covers (`platforms.endpoints`)."""

    platform = models.ForeignKey(Platform, models.CASCADE, related_name="scopes")
    name = models.CharField(max_length=128, validators=[SCOPE_NAME])
    rules = models.JSONField(help_text='["GET /api/**", …]')

    class Meta:
        constraints = [models.UniqueConstraint(fields=["platform", "name"], name="scope_platform_name_unique")]

    def __str__(self) -> str:
        return self.name


class ConnectionStatus(models.TextChoices):
    ACTIVE = "active", "Active"
    UNTESTED = "untested", "Untested"
    REAUTH_NEEDED = "reauth_needed", "Reauth needed"


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(platform__owner=owner)


class Connection(models.Model):
    """One sealed credential for one platform."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    platform = models.ForeignKey(Platform, models.CASCADE, related_name="connections")
    label = models.CharField(max_length=200)
    is_default = models.BooleanField(default=False)
    require_approval = models.BooleanField(default=False)
    status = models.CharField(max_length=20, choices=ConnectionStatus.choices, default=ConnectionStatus.UNTESTED)
    credential_version = models.PositiveIntegerField(default=1)
    credential_key_id = models.CharField(max_length=64)
    credential_wrapped_key = models.BinaryField()
    credential_ciphertext = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[ConnectionQuerySet] = ConnectionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["platform", "label"], name="connection_platform_label_unique"),
            models.UniqueConstraint(
                fields=["platform"], condition=models.Q(is_default=True), name="connection_one_default"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=ConnectionStatus.values), name="connection_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.label


def credential_aad(*, connection_id: UUID, version: int) -> bytes:
    """What ties a sealed credential to its connection and version: moved to another row, it does not open."""
    return f"agentvalet.credential.v1|{connection_id}|{version}".encode()


class Grant(models.Model):
    """An owner's word that an agent may use a scope, on any connection of the platform or on one."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="grants")
    scope = models.ForeignKey(Scope, models.CASCADE, related_name="grants")
    connection = models.ForeignKey(Connection, models.CASCADE, null=True, blank=True, related_name="grants")
    require_approval = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "scope"],
                condition=models.Q(revoked_at__isnull=True),
                name="grant_one_current",
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.scope_id}"
