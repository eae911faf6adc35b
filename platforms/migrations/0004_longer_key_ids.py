from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platforms", "0003_asks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="connection",
            name="credential_key_id",
            field=models.CharField(max_length=256),
        ),
    ]
