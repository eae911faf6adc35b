"""The tables around people: the sessions of their browsers, and invitations to become a member."""

from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


class Session(AbstractBaseSession):
    """A browser's session under a hash of its key (`agents.sessions`), and what its person can tell it by."""

    user = models.ForeignKey("agents.User", models.CASCADE, null=True, related_name="sessions")
    device = models.CharField(max_length=100, blank=True, default="")
    address = models.GenericIPAddressField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta(AbstractBaseSession.Meta):
        verbose_name = "session"

    def save(self, *args: Any, force_update: bool = False, **kwargs: Any) -> None:
        """The store saves what the session holds; what is known of the browser is written by `note_seen` alone."""
        if force_update:
            kwargs["update_fields"] = ["session_data", "expire_date", "user"]
        super().save(*args, force_update=force_update, **kwargs)

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        from agents.sessions import SessionStore  # noqa: PLC0415 - which needs this class

        return SessionStore


class Invitation(models.Model):
    """A link to become a member, good once. It ends with its inviter's being an admin of the owner."""

    owner = models.ForeignKey("agents.Owner", models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=20)
    token_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the token itself is not kept")
    invited_by = models.ForeignKey("agents.Member", models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner", "email"], name="invitation_owner_email_unique"),
            models.CheckConstraint(
                condition=models.Q(role__in=["admin", "approver", "auditor"]), name="invitation_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.role})"
