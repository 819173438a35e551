"""What the database itself holds about collected accounts."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.lookup import FoundMailbox
from collecting.models import SeenMessage, Source
from tests.collecting.sources import make_source
from tests.mailstore.pop3_server import ScriptedPop3


def test_rules(mailbox: FoundMailbox) -> None:
    source = make_source(mailbox, ScriptedPop3(port=1))
    for wrong in ({"tls": "ssl"}, {"claimed_until": timezone.now()}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Source.objects.update(**wrong)
    with pytest.raises(IntegrityError), transaction.atomic():
        Source.objects.create(mailbox_id=mailbox.id, host=source.host, port=source.port, login=source.login)
    SeenMessage.objects.create(source=source, digest="a", stored=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        SeenMessage.objects.create(source=source, digest="a", stored=False)
    assert str(source) == "charles at 127.0.0.1"
    source.delete()
    assert not SeenMessage.objects.exists()
