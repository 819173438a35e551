"""Accounts are added and changed: what will not do is said, and a password goes nowhere it was not given for."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from accounts.models import Domain, Mailbox, User
from accounts.services import create_mailbox
from collecting.models import Source
from collecting.passwords import decrypt
from collecting.services import look_now, save_source, set_sources_active
from tests.collecting.sources import make_source
from tests.mailstore.mailboxes import make_mailbox
from tests.mailstore.pop3_server import ScriptedPop3

SERVER = ScriptedPop3(port=1)


def test_a_host_in_any_spelling(mailbox: FoundMailbox) -> None:
    assert make_source(mailbox, SERVER, host=" POP.Straße.Example. ").host == "pop.xn--strae-oqa.example"
    assert make_source(mailbox, SERVER, host="[2001:DB8::1]").host == "2001:db8::1"
    assert make_source(mailbox, SERVER, host="192.0.2.7%.evil.example").host == "192.0.2.7"


@pytest.mark.parametrize(
    ("columns", "password", "field"),
    [
        ({"host": "a b"}, "x", "host"),
        ({"host": "http://x"}, "x", "host"),
        ({"port": 0}, "x", "port"),
        ({"port": 65536}, "x", "port"),
        ({"login": "a\r\nDELE 1"}, "x", "login"),
        ({"login": ""}, "x", "login"),
        ({"interval_minutes": 0}, "x", "interval_minutes"),
        ({}, "", "password"),
        ({}, "x\r\nDELE 1", "password"),
    ],
)
def test_what_will_not_do(mailbox: FoundMailbox, columns: dict[str, object], password: str, field: str) -> None:
    with pytest.raises(ValidationError) as error:
        make_source(mailbox, SERVER, password=password, **columns)
    assert list(error.value.message_dict) == [field]
    assert not Source.objects.exists()


def test_twice_from_one_account(mailbox: FoundMailbox) -> None:
    make_source(mailbox, SERVER)
    with pytest.raises(ValidationError, match="already"):
        make_source(mailbox, SERVER)
    make_source(make_mailbox("anna"), SERVER)


def test_the_password_is_kept_until_it_would_go_elsewhere(mailbox: FoundMailbox) -> None:
    source = make_source(mailbox, SERVER, password="one")
    Source.objects.update(failures=3, last_error="wrong password", failing_since=timezone.now(), collected=7)
    source.keep, source.interval_minutes = False, 5
    save_source(source=source)
    assert decrypt(source) == "one"
    source.host = "evil.example"
    with pytest.raises(ValidationError, match="again"):
        save_source(source=source)
    save_source(source=source, password="two")
    source.refresh_from_db()
    assert (decrypt(source), source.host, source.keep) == ("two", "evil.example", False)
    assert (source.failures, source.last_error, source.failing_since, source.collected) == (0, "", None, 7)


def test_a_mailbox_does_not_collect_from_itself(mailbox: FoundMailbox, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = "Mail.Maison.mrs"
    for host in ("mail.maison.mrs", "localhost", "127.0.0.1", "::1"):
        for login in ("charles", "Charles@maison.mrs", "charles%maison.mrs"):
            with pytest.raises(ValidationError, match="from itself"):
                make_source(mailbox, SERVER, host=host, login=login, port=995)
    make_source(mailbox, SERVER, host="localhost", port=1110)  # another server here, which is being moved
    make_source(mailbox, SERVER, host="elsewhere.example", port=995)
    make_source(make_mailbox("anna"), SERVER, host="localhost", port=995)


def test_nor_from_a_combined_maildrop_that_it_is_a_part_of(mailbox: FoundMailbox) -> None:
    user = Mailbox.objects.get(pk=mailbox.id).user
    second = create_mailbox(user=user, domain=Domain.objects.get(), local_part="second")
    other = FoundMailbox(second.pk, second.address, 0, 0, True)
    make_source(other, SERVER, host="localhost", login="charles", port=995).delete()
    User.objects.update(combined=True)
    with pytest.raises(ValidationError, match="from itself"):
        make_source(other, SERVER, host="localhost", login="charles", port=995)
    make_source(other, SERVER, host="localhost", login="charles@maison.mrs", port=995)


def test_on_off_and_now(mailbox: FoundMailbox) -> None:
    source, now = make_source(mailbox, SERVER), timezone.now() + timedelta(days=9)
    assert set_sources_active(sources=Source.objects.all(), active=False) == 1
    assert set_sources_active(sources=Source.objects.all(), active=False) == 0
    assert look_now(source_ids=[source.pk], now=now) == 0
    set_sources_active(sources=Source.objects.all(), active=True)
    assert look_now(source_ids=[source.pk], now=now) == 1
    source.refresh_from_db()
    assert source.next_look_at == now
