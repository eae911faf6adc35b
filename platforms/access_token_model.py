"""The access token that a connection's refresh token was last exchanged for (`platforms.access_tokens`)."""

from typing import ClassVar
from uuid import UUID

from django.db import models


class AccessToken(models.Model):
    """One row for each connection whose credential is renewed. Without one, the next call gets it.

    `sealed_…` hold the token with its end, and those that it has replaced (`platforms.kept_tokens`), bound to
    connection and credential version. `serial` grows with each. A token without `renewed_at` is used no more.
    """

    connection = models.OneToOneField(
        "platforms.Connection", models.CASCADE, primary_key=True, related_name="access_token"
    )
    credential_version = models.PositiveIntegerField(help_text="Of the credential that it was got with")
    serial = models.PositiveIntegerField(default=0, db_default=0)
    sealed_key_id = models.CharField(max_length=256, blank=True, db_default="")
    sealed_wrapped_key = models.BinaryField(default=b"", db_default=b"")
    sealed_ciphertext = models.BinaryField(default=b"", db_default=b"")
    renewed_at = models.DateTimeField(null=True, blank=True)
    renewing_until = models.DateTimeField(
        null=True, blank=True, help_text="While it is set and not over, somebody is renewing it"
    )
    failed_at = models.DateTimeField(null=True, blank=True, help_text="When it could last not be renewed")
    failing_since = models.DateTimeField(null=True, blank=True, help_text="The first failure since it last worked")
    failure = models.CharField(max_length=20, blank=True, db_default="", help_text="Its code")
    failure_text = models.CharField(max_length=500, blank=True, db_default="")

    objects: ClassVar[models.Manager["AccessToken"]]

    def __str__(self) -> str:
        return f"{self.connection_id} {self.serial}"


def access_token_aad(*, connection_id: UUID, version: int) -> bytes:
    """What ties a sealed access token to its connection and to the version of the credential it was got with."""
    return f"agentvalet.access-token.v1|{connection_id}|{version}".encode()
