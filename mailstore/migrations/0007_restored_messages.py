from django.db import migrations, models


class Migration(migrations.Migration):
    """When a message came back from the shelf: the days after which it expires begin anew."""

    dependencies = [("mailstore", "0006_qualified_unique_ids")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="restored_at",
            field=models.DateTimeField(null=True),
        ),
    ]
