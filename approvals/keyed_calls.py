"""The row behind an agent's `Idempotency-Key`: who holds the key, and what came of its call."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from agents.models import Agent


class KeyedCallQuerySet(models.QuerySet["KeyedCall"]):
    def for_agent(self, agent_id: str) -> Self:
        return self.filter(agent_id=agent_id)


class KeyedCall(models.Model):
    """One call of `POST /v1/actions` under a key of its agent's, kept for a day (`approvals.idempotency`).

    The row is claimed before anything happens and names the request that holds it. It then gets `approval`, or
    `sending_at` and after that `answered_at` with either the platform's answer or an error. Key and call are hashes:
    they are the agent's own words, and nobody has to read them here.
    """

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="keyed_calls")
    key_hash = models.CharField(max_length=64, help_text="SHA-256 of the key, hex")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the call as it was asked for, hex")
    request_id = models.UUIDField(help_text="The request that holds the key")
    claimed_at = models.DateTimeField()

    approval = models.ForeignKey("approvals.ApprovalRequest", models.CASCADE, null=True, blank=True, related_name="+")
    sending_at = models.DateTimeField(null=True, blank=True, help_text="From here on the platform may have it")
    answered_at = models.DateTimeField(null=True, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The platform's HTTP status")
    headers = models.JSONField(null=True, blank=True)
    body = models.BinaryField(null=True, blank=True, help_text="Empty for an answer that was too long to keep")
    meta = models.TextField(blank=True, help_text="The _meta of the answer, JSON")
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True, help_text="Why there is no answer")

    objects: ClassVar[KeyedCallQuerySet] = KeyedCallQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "key_hash"], name="keyed_call_one_per_key"),
            models.CheckConstraint(
                condition=Q(approval__isnull=True) | Q(sending_at__isnull=True),
                name="keyed_call_waits_or_is_sent",
            ),
            models.CheckConstraint(
                condition=Q(answered_at__isnull=True, status__isnull=True, error_code="")
                | (
                    Q(answered_at__isnull=False, sending_at__isnull=False) & (Q(status__isnull=True) ^ Q(error_code=""))
                ),
                name="keyed_call_one_outcome",
            ),
        ]
        indexes = [models.Index(fields=["claimed_at"], name="keyed_call_age")]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.key_hash[:12]}"
