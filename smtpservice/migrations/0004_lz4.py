from django.db import migrations

from mailstore.lz4 import use_lz4


def compress(apps, schema_editor):
    use_lz4(schema_editor, "smtpservice_queuedcontent")


class Migration(migrations.Migration):

    dependencies = [
        ('smtpservice', '0003_held'),
    ]

    operations = [
        migrations.RunPython(compress, migrations.RunPython.noop),
    ]
