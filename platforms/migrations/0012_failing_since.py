"""Since when the access of a connection could not be renewed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0011_mcp"),
    ]

    operations = [
        migrations.AddField(
            model_name="accesstoken",
            name="failing_since",
            field=models.DateTimeField(blank=True, help_text="The first failure since it last worked", null=True),
        ),
    ]
