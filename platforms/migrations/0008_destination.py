"""Stored credentials are bound to where they go. Those from before are sent nowhere until they are provisioned again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0007_catalogue"),
    ]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="destination",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="The seal over where the credential may go (platforms.destinations)",
                max_length=64,
            ),
        ),
    ]
