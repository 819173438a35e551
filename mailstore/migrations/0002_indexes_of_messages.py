
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mailstore', '0001_initial'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='message',
            name='mailstore_message_shelf',
        ),
        migrations.RemoveIndex(
            model_name='message',
            name='mailstore_message_by_id',
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('deleted_at__isnull', True)), fields=['mailbox', 'uid'], name='mailstore_message_live'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('deleted_at__isnull', False)), fields=['mailbox', 'uid', 'deleted_at'], name='mailstore_message_shelf'),
        ),
    ]
