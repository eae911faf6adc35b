"""The tables of telling: one row per message to one device or mailbox, and who has seen what."""

from django.db import models
from django.db.models import Q


class Channel(models.TextChoices):
    PUSH = "push", "Push"
    MAIL = "mail", "E-mail"


class Purpose(models.TextChoices):
    ASK = "ask", "Asks for a decision"
    REMINDER = "reminder", "Asks again, half of the time being over"
    WITHDRAWAL = "withdrawal", "Takes the notification away: the matter is settled"
    TEST = "test", "Shows that a device is reached"


ASKING = (Purpose.ASK, Purpose.REMINDER)


class Delivery(models.Model):
    """One message to one recipient: the outbox, and afterwards the record of what arrived.

    `next_try_at` is set for as long as somebody has to do something. `target` names a device or a delegate that may be
    gone by now; `recipient` is what it was called.
    """

    notification = models.ForeignKey("notifications.Notification", models.CASCADE, related_name="deliveries")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    target = models.UUIDField()
    recipient = models.CharField(max_length=400)
    created_at = models.DateTimeField()
    next_try_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    under_way = models.BooleanField(default=False, help_text="A worker is sending it, until `next_try_at`")
    arrived_at = models.DateTimeField(null=True, blank=True, help_text="When the push service or mail server took it")
    failure = models.CharField(max_length=300, blank=True, help_text="Why the last attempt failed, in one sentence")

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.CheckConstraint(condition=Q(channel__in=Channel.values), name="delivery_channel_known"),
            models.CheckConstraint(condition=Q(purpose__in=Purpose.values), name="delivery_purpose_known"),
            models.CheckConstraint(
                condition=Q(arrived_at__isnull=True) | Q(next_try_at__isnull=True), name="delivery_arrived_is_over"
            ),
        ]
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="delivery_open"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} to {self.recipient} by {self.channel}"


class Seen(models.Model):
    """A member has had the matter on the screen: no reminder."""

    notification = models.ForeignKey("notifications.Notification", models.CASCADE, related_name="seen_by")
    member = models.ForeignKey("agents.Member", models.CASCADE, related_name="+")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["notification", "member"], name="seen_once")]

    def __str__(self) -> str:
        return f"{self.notification_id} seen by {self.member_id}"
