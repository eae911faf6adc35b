"""What people are told: one row per thing that wants attention; deliveries are made from it."""

from django.db import models

from agents.models import Owner


class Notification(models.Model):
    """A line in an owner's inbox: a title and a place to go. It holds nothing secret."""

    owner = models.ForeignKey(Owner, models.CASCADE, related_name="notifications")
    tag = models.CharField(max_length=100, help_text="What it is about; a newer one with the same tag replaces it")
    title = models.CharField(max_length=300)
    url = models.CharField(max_length=300)
    created_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "tag"], name="notification_owner_tag_unique")]
        indexes = [models.Index(fields=["owner", "-created_at"], name="notification_inbox")]

    def __str__(self) -> str:
        return self.title
