import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0002_agent_lineage"),
        ("platforms", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="hint",
            field=models.CharField(
                blank=True, db_default="", help_text="The owner's words to agents: when to use it", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="connection",
            name="identity",
            field=models.JSONField(blank=True, help_text="Whose account: email, display_name, account_id", null=True),
        ),
        migrations.AddField(
            model_name="grant",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="grant",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                help_text="The grant of the parent agent that a child's grant was taken from",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="children",
                to="platforms.grant",
            ),
        ),
        migrations.AddField(
            model_name="platform",
            name="call_style",
            field=models.CharField(
                blank=True,
                choices=[("", "Paths and methods"), ("graphql", "GraphQL: POST to one address, the endpoint is /")],
                db_default="",
                default="",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="platform",
            name="suspended_at",
            field=models.DateTimeField(blank=True, help_text="While set, no agent may call it", null=True),
        ),
        migrations.AddConstraint(
            model_name="platform",
            constraint=models.CheckConstraint(
                condition=models.Q(("call_style__in", ["", "graphql"])), name="platform_call_style_known"
            ),
        ),
    ]
