import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0002_agent_lineage"),
        ("platforms", "0002_boundaries"),
    ]

    operations = [
        migrations.CreateModel(
            name="AccessRequest",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("platform", models.CharField(max_length=63)),
                (
                    "scope",
                    models.CharField(blank=True, help_text="Empty: whatever the owner finds right", max_length=128),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("approved", "Approved"), ("denied", "Denied")],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=254)),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="access_requests", to="agents.agent"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["agent", "created_at"], name="access_pending"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "approved", "denied"])),
                        name="access_status_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status", "pending")),
                        fields=("agent", "platform", "scope"),
                        name="access_one_pending_twin",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Registration",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("claimed_owner_id", models.UUIDField()),
                (
                    "token_hash",
                    models.BinaryField(help_text="SHA-256; the token itself is not kept", max_length=32, unique=True),
                ),
                ("agent_name", models.CharField(max_length=200)),
                ("description", models.CharField(blank=True, max_length=1000)),
                (
                    "requested",
                    models.JSONField(default=list, help_text='[{"platform": …, "scopes": […]}]: what it would like'),
                ),
                ("address", models.GenericIPAddressField(null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("approved", "Approved"), ("rejected", "Rejected")],
                        default="pending",
                        max_length=20,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(help_text="Until then it waits; once decided, its token answers")),
                ("decided_at", models.DateTimeField(null=True)),
                ("decided_by", models.CharField(blank=True, max_length=254)),
                ("claimed_at", models.DateTimeField(help_text="When the private key was handed out", null=True)),
                (
                    "agent",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registration",
                        to="agents.agent",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registrations",
                        to="agents.owner",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")),
                        fields=["claimed_owner_id", "expires_at"],
                        name="registration_waiting",
                    ),
                    models.Index(fields=["expires_at"], name="registration_due"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["pending", "approved", "rejected"])),
                        name="registration_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status", "approved"), ("agent__isnull", True), _connector="XOR"),
                        name="registration_approved_has_agent",
                    ),
                ],
            },
        ),
    ]
