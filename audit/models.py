"""The append-only record: its rows, the head of each owner's chain, signed checkpoints.

Triggers (migration 0002) refuse what must not happen; the guards here say so earlier, at the line that tried.
"""

import json
import uuid
from typing import Any, ClassVar, Never, Self
from uuid import UUID

from django.db import models

from audit.events import DECISIONS
from audit.recordable import LONG_TEXT, SHORT_TEXT


class AppendOnlyError(RuntimeError):
    """Raised where code would change the audit log, or write to it past record()."""

    def __init__(self) -> None:
        super().__init__("the audit log is append-only, and audit.records.record() is its only writer")


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def for_owner(self, owner_id: UUID) -> Self:
        return self.filter(owner_id=owner_id)

    def create(self, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def bulk_create(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def bulk_update(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def update(self, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def delete(self) -> Never:
        raise AppendOnlyError


class AuditEvent(models.Model):
    """One row of an owner's chain: a snapshot without foreign keys, because it outlives what it speaks of.

    `canonical` is the record, exactly as hashed; every other column repeats a part of it for queries.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner_id = models.UUIDField()
    seq = models.PositiveBigIntegerField(help_text="1, 2, 3, … within the owner, without gaps")
    at = models.DateTimeField()
    event = models.CharField(max_length=SHORT_TEXT)
    result = models.CharField(max_length=SHORT_TEXT)
    actor_kind = models.CharField(max_length=SHORT_TEXT)
    actor_id = models.CharField(max_length=SHORT_TEXT)
    actor_label = models.CharField(max_length=SHORT_TEXT)
    request_id = models.UUIDField(null=True)
    approval_id = models.UUIDField(null=True)
    agent_id = models.CharField(max_length=SHORT_TEXT)
    agent_name = models.CharField(max_length=SHORT_TEXT)
    platform = models.CharField(max_length=SHORT_TEXT)
    action = models.CharField(max_length=SHORT_TEXT)
    session_id = models.CharField(max_length=SHORT_TEXT)
    reason = models.CharField(max_length=LONG_TEXT)
    canonical = models.TextField()
    hash = models.BinaryField(max_length=32)

    objects: ClassVar[AuditEventQuerySet] = AuditEventQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["owner_id", "seq"]  # rows have an order of their own; the database's is nobody's
        constraints = [models.UniqueConstraint(fields=["owner_id", "seq"], name="auditevent_owner_seq_unique")]
        indexes = [
            models.Index(fields=["owner_id", "-at", "-seq"], name="auditevent_owner_at"),
            models.Index(fields=["owner_id", "agent_id", "-at", "-seq"], name="auditevent_agent_at"),
            models.Index(fields=["owner_id", "event", "-at", "-seq"], name="auditevent_event_at"),
            models.Index(fields=["owner_id", "result", "-at", "-seq"], name="auditevent_result_at"),
            models.Index(fields=["owner_id", "platform", "-at", "-seq"], name="auditevent_platform_at"),
            models.Index(
                fields=["owner_id", "-at", "-seq"],
                condition=models.Q(event__in=[str(event) for event in sorted(DECISIONS)]),
                name="auditevent_decision_at",
            ),
            models.Index(
                fields=["request_id"], condition=models.Q(request_id__isnull=False), name="auditevent_request"
            ),
            models.Index(
                fields=["approval_id"], condition=models.Q(approval_id__isnull=False), name="auditevent_approval"
            ),
            models.Index(fields=["at"], name="auditevent_at"),  # the admin looks at all owners at once
        ]

    def __str__(self) -> str:
        return f"{self.owner_id} #{self.seq} {self.event}"

    def save(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError

    @property
    def metadata(self) -> dict[str, Any]:
        """What the caller of record() added, out of the canonical text."""
        return dict(json.loads(self.canonical)["metadata"])


class ChainHead(models.Model):
    """Where an owner's chain ends. record() locks this row, which keeps the chain one line; it only moves forward."""

    owner_id = models.UUIDField(primary_key=True)
    seq = models.PositiveBigIntegerField()
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{self.owner_id} #{self.seq}"

    def save(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError


class ChainCheck(models.Model):
    """What the last checks of an owner's chain found, for people to see. No proof: the row can be edited."""

    owner_id = models.UUIDField(primary_key=True)
    checked_at = models.DateTimeField(null=True, help_text="the last check, of all rows or of the new ones")
    seq = models.PositiveBigIntegerField(default=0, help_text="up to this row the chain verifies")
    bad_seq = models.BigIntegerField(null=True, help_text="the first bad row; stays until all rows verify again")
    problem = models.CharField(max_length=LONG_TEXT, blank=True)
    whole_checked_at = models.DateTimeField(null=True, help_text="the last check of all rows")
    requested_at = models.DateTimeField(null=True, help_text="somebody waits for a check of all rows")
    claimed_at = models.DateTimeField(null=True, help_text="a check of all rows is under way since")

    def __str__(self) -> str:
        return f"{self.owner_id} checked up to #{self.seq}"


class Checkpoint(models.Model):
    """An Ed25519 signature over where an owner's chain stood; the key is not in the database."""

    owner_id = models.UUIDField()
    seq = models.PositiveBigIntegerField()
    hash = models.BinaryField(max_length=32)
    at = models.DateTimeField()
    public_key = models.BinaryField(max_length=32)
    signature = models.BinaryField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["owner_id", "seq", "public_key"], name="checkpoint_owner_seq_key_unique")
        ]

    def __str__(self) -> str:
        return f"{self.owner_id} checkpoint at #{self.seq}"

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnlyError
