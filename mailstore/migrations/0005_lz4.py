from django.db import migrations

from mailstore.lz4 import use_lz4


def compress(apps, schema_editor):
    use_lz4(schema_editor, "mailstore_content")


class Migration(migrations.Migration):

    dependencies = [
        ('mailstore', '0004_surrogates'),
    ]

    operations = [
        migrations.RunPython(compress, migrations.RunPython.noop),
    ]
