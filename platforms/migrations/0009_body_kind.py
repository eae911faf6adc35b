"""What the body of a call is made into: JSON, as for all platforms until now, or a form."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0008_destination"),
    ]

    operations = [
        migrations.AddField(
            model_name="platform",
            name="body_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "JSON"),
                    ("form", "Form: an object is a[b]=c, an array a[0]=b"),
                    ("flat-form", "Flat form: an array is its name repeated"),
                ],
                db_default="",
                default="",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="platform",
            constraint=models.CheckConstraint(
                condition=models.Q(("body_kind__in", ["", "form", "flat-form"])), name="platform_body_kind_known"
            ),
        ),
    ]
