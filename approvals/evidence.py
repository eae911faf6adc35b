"""What a passkey signed, kept whole: a row that nobody changes, written with the decision that it proves."""

import hashlib
from typing import Any, ClassVar, Never
from uuid import UUID

from django.db import models

from approvals.verify_receipt import canonical, encode


class EvidenceRefused(RuntimeError):
    """Raised where code would change evidence. A trigger (migration) refuses the same to everybody else."""


class PasskeyEvidence(models.Model):
    """A snapshot without foreign keys, like an audit row: passkeys are deleted, what they signed stays."""

    approval_id = models.UUIDField(primary_key=True)
    form = models.BinaryField(help_text="Canonical bytes of the decision, nonce included; SHA-256 is the challenge")
    rp_id = models.CharField(max_length=253)
    origin = models.CharField(max_length=300)
    credential_id = models.BinaryField(max_length=1023)
    public_key = models.BinaryField(help_text="SubjectPublicKeyInfo, DER")
    client_data_json = models.BinaryField()
    authenticator_data = models.BinaryField()
    signature = models.BinaryField()
    created_at = models.DateTimeField()

    objects: ClassVar[models.Manager["PasskeyEvidence"]]

    def __str__(self) -> str:
        return str(self.approval_id)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises EvidenceRefused for anything but a new row."""
        if not kwargs.get("force_insert"):
            raise EvidenceRefused
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise EvidenceRefused

    def statement(self) -> dict[str, str]:
        """The assertion as receipts carry it (`verify_receipt.check_assertion`)."""
        return {
            "form": bytes(self.form).decode("utf-8", "replace"),
            "rp_id": self.rp_id,
            "origin": self.origin,
            "credential_id": encode(bytes(self.credential_id)),
            "public_key": encode(bytes(self.public_key)),
            "client_data_json": encode(bytes(self.client_data_json)),
            "authenticator_data": encode(bytes(self.authenticator_data)),
            "signature": encode(bytes(self.signature)),
        }

    def digest(self) -> str:
        """SHA-256 of the statement, 64 hex digits: what the seal of the decision covers."""
        return hashlib.sha256(canonical(self.statement())).hexdigest()


def evidence_of(approval_id: UUID) -> PasskeyEvidence | None:
    return PasskeyEvidence.objects.filter(pk=approval_id).first()
