"""What may be called and how: platforms, their scopes, the connections that hold credentials, and the grants."""

import uuid
from datetime import datetime
from typing import ClassVar, Self
from uuid import UUID

from django.core.validators import RegexValidator
from django.db import models

import platforms.access_token_model
import platforms.asks  # noqa: F401 - Django finds the models there through this module
from agents.models import Agent, Owner

SLUG = RegexValidator(r"^[a-z0-9][a-z0-9-]{0,62}\Z", "Use a-z, 0-9 and '-', at most 63 characters.")
SCOPE_NAME = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z", "Use letters, digits and . _ : / -, at most 128.")


class CallStyle(models.TextChoices):
    REST = "", "Paths and methods"
    GRAPHQL = "graphql", "GraphQL: POST to one address, the endpoint is /"
    MCP = "mcp", "MCP server: POST to one address, the endpoint is /<tool>"


class BodyKind(models.TextChoices):
    """What the body of a call is made into (`platforms.bodies`)."""

    JSON = "", "JSON"
    FORM = "form", "Form: an object is a[b]=c, an array a[0]=b"
    FLAT_FORM = "flat-form", "Flat form: an array is its name repeated"


class PlatformQuerySet(models.QuerySet["Platform"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)


class Platform(models.Model):
    """A service that agents may call: where it is and how it wants to be authenticated."""

    owner = models.ForeignKey(Owner, models.CASCADE, related_name="platforms")
    slug = models.CharField(max_length=63, validators=[SLUG], help_text="The platform id on the wire")
    name = models.CharField(max_length=200)
    base_url = models.URLField(max_length=500)
    auth = models.JSONField(help_text='{"type": "bearer" | "header" | "query" | "basic", "name": …}')
    call_style = models.CharField(
        max_length=20, choices=CallStyle.choices, default=CallStyle.REST, db_default="", blank=True
    )
    body_kind = models.CharField(
        max_length=20, choices=BodyKind.choices, default=BodyKind.JSON, db_default="", blank=True
    )
    honours_idempotency_key = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It makes a call with an Idempotency-Key that it has seen once only",
    )
    category = models.CharField(max_length=60, blank=True, db_default="", help_text="Where it stands on the page")
    test_call = models.JSONField(
        null=True, blank=True, help_text="What tests a connection: method, endpoint, body, and where the identity is"
    )
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="While set, no agent may call it")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[PlatformQuerySet] = PlatformQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "slug"], name="platform_owner_slug_unique"),
            models.CheckConstraint(
                condition=models.Q(call_style__in=CallStyle.values), name="platform_call_style_known"
            ),
            models.CheckConstraint(condition=models.Q(body_kind__in=BodyKind.values), name="platform_body_kind_known"),
        ]

    def __str__(self) -> str:
        return self.slug


class StepUp(models.TextChoices):
    NONE = "", "As the role allows"
    PASSKEY = "passkey", "With a passkey only"


class Scope(models.Model):
    """A named permission: the method and path patterns that it covers (`platforms.endpoints`)."""

    platform = models.ForeignKey(Platform, models.CASCADE, related_name="scopes")
    name = models.CharField(max_length=128, validators=[SCOPE_NAME])
    rules = models.JSONField(help_text='["GET /api/**", …]')
    covers = models.CharField(
        max_length=300, blank=True, db_default="", help_text="One sentence for those who grant it"
    )
    step_up = models.CharField(
        max_length=20,
        choices=StepUp.choices,
        default=StepUp.NONE,
        db_default="",
        blank=True,
        help_text="What it takes to approve or deny a call that waits",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["platform", "name"], name="scope_platform_name_unique"),
            models.CheckConstraint(condition=models.Q(step_up__in=StepUp.values), name="scope_step_up_known"),
        ]

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
    hint = models.CharField(
        max_length=500, blank=True, db_default="", help_text="The owner's words to agents: when to use it"
    )
    identity = models.JSONField(null=True, blank=True, help_text="Whose account: email, display_name, account_id")
    is_default = models.BooleanField(default=False)
    require_approval = models.BooleanField(default=False)
    status = models.CharField(max_length=20, choices=ConnectionStatus.choices, default=ConnectionStatus.UNTESTED)
    credential_version = models.PositiveIntegerField(default=1)
    credential_key_id = models.CharField(max_length=256)  # the ARN of a key service's key is long
    credential_wrapped_key = models.BinaryField()
    credential_ciphertext = models.BinaryField()
    destination = models.CharField(
        max_length=64,
        blank=True,
        db_default="",
        help_text="The seal over where the credential may go (platforms.destinations)",
    )
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


class GrantQuerySet(models.QuerySet["Grant"]):
    def for_agent(self, agent_id: str) -> Self:
        return self.filter(agent_id=agent_id)

    def current(self, now: datetime) -> Self:
        """What counts at this moment; a child's grant counts only while the one it was taken from does."""
        mine = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        parents = models.Q(parent__expires_at=None) | models.Q(parent__expires_at__gt=now)
        return self.filter(
            mine,
            models.Q(parent=None) | (models.Q(parent__revoked_at=None) & parents),
            revoked_at=None,
            scope__platform__suspended_at=None,
        )


class Grant(models.Model):
    """An owner's word that an agent may use a scope, on any connection of the platform or on one."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="grants")
    scope = models.ForeignKey(Scope, models.CASCADE, related_name="grants")
    # A connection goes only after every grant that counts for it was revoked: see `platforms.connecting.disconnect`.
    connection = models.ForeignKey(Connection, models.SET_NULL, null=True, blank=True, related_name="grants")
    parent = models.ForeignKey(
        "self",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="children",
        help_text="The grant of the parent agent that a child's grant was taken from",
    )
    require_approval = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    lost_with = models.JSONField(
        null=True, blank=True, help_text="The connection that it went with: label, and whether it was for that one only"
    )

    objects: ClassVar[GrantQuerySet] = GrantQuerySet.as_manager()  # type: ignore[assignment]

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
