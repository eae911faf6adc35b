"""The tables of passkeys: people's credentials, and challenges on their way to a device."""

import uuid

from django.db import models


class Passkey(models.Model):
    """A WebAuthn credential with which a person signs in, and signs decisions. The private key is on the device."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey("agents.User", models.CASCADE, related_name="passkeys")
    label = models.CharField(max_length=100)
    credential_id = models.BinaryField(max_length=1023, unique=True)
    public_key = models.BinaryField(help_text="COSE_Key (RFC 9052)")
    user_handle = models.BinaryField(max_length=64, help_text="Random; the same for all passkeys of a person")
    sign_count = models.BigIntegerField(help_text="0 for ever with synced passkeys")
    transports = models.JSONField(default=list, help_text="How the browser reaches the device, for its next time")
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.label


class Purpose(models.TextChoices):
    REGISTER = "register", "Register"
    SIGN_IN = "sign_in", "Sign in"
    CONFIRM = "confirm", "Confirm that it is you"
    DECIDE = "decide", "Decide on a call"


class PasskeyChallenge(models.Model):
    """A challenge that a device may answer once. The row is gone before the answer is looked at."""

    challenge = models.BinaryField(max_length=32, primary_key=True)
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    user = models.ForeignKey("agents.User", models.CASCADE, null=True, blank=True, related_name="+")
    bound = models.BinaryField(default=b"", help_text="Of a decision: the form. Of a registration: the user handle")
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(purpose__in=Purpose.values), name="challenge_purpose_known"),
            models.CheckConstraint(
                condition=models.Q(purpose=Purpose.SIGN_IN) ^ models.Q(user__isnull=False), name="challenge_has_user"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} until {self.expires_at}"
