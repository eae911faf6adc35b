"""MCP servers are platforms, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0010_access_tokens"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="platform",
            name="platform_call_style_known",
        ),
        migrations.AlterField(
            model_name="platform",
            name="call_style",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "Paths and methods"),
                    ("graphql", "GraphQL: POST to one address, the endpoint is /"),
                    ("mcp", "MCP server: POST to one address, the endpoint is /<tool>"),
                ],
                db_default="",
                default="",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="platform",
            constraint=models.CheckConstraint(
                condition=models.Q(("call_style__in", ["", "graphql", "mcp"])), name="platform_call_style_known"
            ),
        ),
    ]
