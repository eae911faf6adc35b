"""The approval row: what was asked, what was decided, what came of it."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

import approvals.evidence
import approvals.keyed_calls
import approvals.link_tokens  # noqa: F401 - Django finds the models there through this module
from agents.models import Agent, Owner


class Decision(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    EXPIRED = "expired", "Expired"


class Finding(models.TextChoices):
    """What a person has found on the platform about a call whose outcome was unknown."""

    HAPPENED = "happened", "It happened"
    NOT_HAPPENED = "not_happened", "It did not happen"


class ApprovalQuerySet(models.QuerySet["ApprovalRequest"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)

    def for_agent(self, agent_id: str) -> Self:
        return self.filter(agent_id=agent_id)

    def pending(self, now: datetime) -> Self:
        """What a person can still decide. A row past its time is not, even if the sweep has not come by yet."""
        return self.filter(decision=Decision.PENDING, expires_at__gt=now)

    def unclaimed(self) -> Self:
        """Approved and not yet begun: the outbox that workers drain."""
        return self.filter(decision=Decision.APPROVED, execution_started_at__isnull=True, executed_at__isnull=True)

    def ended(self) -> Self:
        """Nothing more comes of it by itself: denied, expired, or approved and with an outcome."""
        return self.filter(Q(decision__in=[Decision.DENIED, Decision.EXPIRED]) | Q(executed_at__isnull=False))

    def reaching(self) -> Self:
        """Approved, and sent, perhaps sent, or still to be sent."""
        is_open = Q(executed_at__isnull=True) | Q(outcome_unknown=True) | Q(result_status__isnull=False)
        return self.filter(is_open, decision=Decision.APPROVED)

    def in_flight(self) -> Self:
        """Begun and without an outcome."""
        return self.filter(execution_started_at__isnull=False, executed_at__isnull=True)


class ApprovalRequest(models.Model):
    """One call that waits, or waited, for a person.

    Two facts: `decision` goes from pending to exactly one of the others; `execution_started_at` and `executed_at` are
    set once each. `form` holds the canonical bytes of the call (`approvals.binding`): what is shown, decided and sent
    is read from them; the other columns about the call are copies to filter and search by.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="approvals")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="approvals")
    agent_name = models.CharField(max_length=200)
    request_id = models.UUIDField(help_text="The request that asked; the correlation id of its audit rows")
    platform = models.CharField(max_length=63)
    scope = models.CharField(max_length=128)
    connection_id = models.UUIDField()
    connection_label = models.CharField(max_length=200)
    disclosure = models.JSONField(
        null=True, blank=True, help_text="For the agent: which connection was taken for it, and the others it has"
    )
    form = models.BinaryField(help_text="Canonical bytes of the call")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the form, hex")
    reason = models.CharField(max_length=500, blank=True, help_text="The agent's own words")
    requester_address = models.GenericIPAddressField(null=True, blank=True)
    session_id = models.CharField(
        max_length=128, blank=True, db_default="", help_text="The agent's own word, for the record"
    )
    step_up = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="What the scope demanded when asked"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    again_of = models.ForeignKey(
        "self",
        models.RESTRICT,
        null=True,
        blank=True,
        related_name="repeats",
        help_text="The call that this one repeats",
    )
    again_by = models.CharField(max_length=254, blank=True, db_default="", help_text="The member who had it repeated")
    same_key_as = models.UUIDField(
        null=True, blank=True, help_text="The earlier approval whose Idempotency-Key is used; empty for its own"
    )

    decision = models.CharField(max_length=10, choices=Decision.choices, default=Decision.PENDING)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by_id = models.CharField(max_length=64, blank=True, help_text="Member id; empty when nobody decided")
    decided_by = models.CharField(max_length=254, blank=True)
    decided_via = models.CharField(max_length=20, blank=True)
    deny_reason = models.CharField(max_length=500, blank=True)
    evidence_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="SHA-256 of what a passkey signed; empty without one",
    )
    seal = models.BinaryField(null=True, blank=True, help_text="HMAC over the decision, with a key kept elsewhere")

    execution_started_at = models.DateTimeField(null=True, blank=True)
    executed_at = models.DateTimeField(null=True, blank=True)
    result_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The platform's HTTP status")
    result_json = models.TextField(
        null=True, blank=True, help_text="The platform's status and body, as the agent gets it"
    )
    execution_error = models.TextField(null=True, blank=True)
    outcome_unknown = models.BooleanField(default=False, db_default=False, help_text="It may have reached the platform")

    outcome_found = models.CharField(max_length=12, choices=Finding.choices, blank=True, db_default="")
    outcome_note = models.CharField(max_length=500, blank=True, db_default="")
    outcome_checked_at = models.DateTimeField(null=True, blank=True)
    outcome_checked_by_id = models.CharField(max_length=64, blank=True, db_default="", help_text="Member id")
    outcome_checked_by = models.CharField(max_length=254, blank=True, db_default="")

    queue_version = models.BigIntegerField(help_text="The queue's version when this row last changed")

    objects: ClassVar[ApprovalQuerySet] = ApprovalQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(decision__in=Decision.values), name="approval_decision_known"),
            models.CheckConstraint(
                condition=Q(decision=Decision.PENDING) ^ Q(decided_at__isnull=False),
                name="approval_decided_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(decision=Decision.APPROVED) | Q(seal__isnull=False),
                name="approval_approved_is_sealed",
            ),
            models.CheckConstraint(
                condition=Q(execution_started_at__isnull=True, executed_at__isnull=True)
                | Q(decision=Decision.APPROVED),
                name="approval_only_approved_runs",
            ),
            models.CheckConstraint(
                condition=Q(executed_at__isnull=True, result_json__isnull=True, execution_error__isnull=True)
                | (Q(executed_at__isnull=False) & (Q(result_json__isnull=False) | Q(execution_error__isnull=False))),
                name="approval_outcome_has_time",
            ),
            models.CheckConstraint(
                condition=Q(result_json__isnull=True) | Q(execution_started_at__isnull=False),
                name="approval_result_was_started",
            ),
            models.CheckConstraint(
                condition=Q(outcome_unknown=False) | Q(executed_at__isnull=False, result_json__isnull=True),
                name="approval_unknown_has_no_result",
            ),
            models.CheckConstraint(
                condition=Q(
                    outcome_found="",
                    outcome_note="",
                    outcome_checked_at__isnull=True,
                    outcome_checked_by_id="",
                    outcome_checked_by="",
                )
                | Q(outcome_found__in=Finding.values, outcome_checked_at__isnull=False, outcome_unknown=True),
                name="approval_check_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(again_of__isnull=True, again_by="", same_key_as__isnull=True)
                | Q(again_of__isnull=False) & ~Q(again_by="") & ~Q(again_of=models.F("id")),
                name="approval_repeat_is_whole",
            ),
            # Identical pending calls share one card.
            models.UniqueConstraint(
                fields=["agent", "digest"],
                condition=Q(decision=Decision.PENDING),
                name="approval_one_pending_twin",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "created_at"], condition=Q(decision="pending"), name="approval_queue"),
            models.Index(fields=["expires_at"], condition=Q(decision="pending"), name="approval_due"),
            models.Index(
                fields=["decided_at"],
                condition=Q(decision="approved", executed_at__isnull=True),
                name="approval_unfinished",
            ),
            models.Index(fields=["owner", "-created_at"], name="approval_history"),
            models.Index(
                fields=["owner", "-decided_at", "-id"], condition=Q(decided_at__isnull=False), name="approval_ended"
            ),
            models.Index(
                fields=["owner", "-decided_at", "-id"], condition=Q(outcome_unknown=True), name="approval_unknown"
            ),
            models.Index(fields=["agent", "-executed_at"], name="approval_agent_recent"),
            models.Index(fields=["agent", "-decided_at"], name="approval_agent_decided"),
            models.Index(fields=["owner", "queue_version"], name="approval_changes"),
            models.Index(fields=["request_id"], name="approval_request_id"),
            models.Index(
                fields=["agent", "digest"], condition=Q(execution_started_at__isnull=False), name="approval_made_before"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def idempotency_key(self) -> str:
        """What the platform gets as `Idempotency-Key`: the id of this approval, or of the one that it repeats."""
        return str(self.same_key_as or self.pk)


class Queue(models.Model):
    """A counter per owner that moves with every change on `/approvals`: the page asks for this one row."""

    owner = models.OneToOneField(Owner, models.CASCADE, primary_key=True, related_name="queue")
    version = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.owner_id} at {self.version}"
