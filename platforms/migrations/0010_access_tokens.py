"""Access tokens of credentials that are renewed, sealed."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0009_body_kind"),
    ]

    operations = [
        migrations.CreateModel(
            name="AccessToken",
            fields=[
                (
                    "connection",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="access_token",
                        serialize=False,
                        to="platforms.connection",
                    ),
                ),
                ("credential_version", models.PositiveIntegerField(help_text="Of the credential that it was got with")),
                ("serial", models.PositiveIntegerField(db_default=0, default=0)),
                ("sealed_key_id", models.CharField(blank=True, db_default="", max_length=256)),
                ("sealed_wrapped_key", models.BinaryField(db_default=b"", default=b"")),
                ("sealed_ciphertext", models.BinaryField(db_default=b"", default=b"")),
                ("renewed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "renewing_until",
                    models.DateTimeField(
                        blank=True, help_text="While it is set and not over, somebody is renewing it", null=True
                    ),
                ),
                (
                    "failed_at",
                    models.DateTimeField(blank=True, help_text="When it could last not be renewed", null=True),
                ),
                ("failure", models.CharField(blank=True, db_default="", help_text="Its code", max_length=20)),
                ("failure_text", models.CharField(blank=True, db_default="", max_length=500)),
            ],
        ),
    ]
