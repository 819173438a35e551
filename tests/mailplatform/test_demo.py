"""What the demo holds, and that making it twice changes nothing."""

import socket
import stat
import threading
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from accounts.models import Domain, Mailbox, User
from accounts.services import set_password
from mailplatform import demo
from mailstore.models import Maildrop

pytestmark = pytest.mark.django_db
PASSWORDS = {name: f"{name}-secret" for name in ("admin", "jules", "alfred", "charles")}


def test_it_is_the_founding_story() -> None:
    demo.create_demo(passwords=PASSWORDS)
    assert Domain.objects.get(is_default=True).name == "jules.maison.mrs"
    assert User.objects.get(is_superuser=True).username == "admin"
    assert {login.name for login in demo.mail_logins(PASSWORDS)} == {
        "jules@jules.maison.mrs",
        "alfred@alfred.maison.mrs",
        "charles@jules.maison.mrs",
        "charles@alfred.maison.mrs",
    }
    assert [user.username for user in User.objects.filter(combined=True)] == ["charles"]


def test_made_twice_it_stays_as_it_is() -> None:
    demo.create_demo(passwords=PASSWORDS)
    set_password(user=User.objects.get(username="jules"), password="of her own")
    before = list(Mailbox.objects.values_list("pk", "address", "user__password").order_by("pk"))
    demo.create_demo(passwords=PASSWORDS)
    assert list(Mailbox.objects.values_list("pk", "address", "user__password").order_by("pk")) == before


def test_a_password_that_was_changed_is_not_shown() -> None:
    demo.create_demo(passwords=PASSWORDS)
    set_password(user=User.objects.get(username="charles"), password="of his own")
    shown = {login.name: login.password for login in demo.mail_logins(PASSWORDS)}
    assert shown["jules@jules.maison.mrs"] == "jules-secret"
    assert shown["charles@jules.maison.mrs"] is shown["charles@alfred.maison.mrs"] is None
    assert demo.admin_login(PASSWORDS).password == "admin-secret"


def test_passwords_are_made_once_and_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    made = demo.kept_passwords(path)
    assert len(set(made.values())) == len(made) == 4
    assert demo.kept_passwords(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_letters_count_as_sent_even_when_they_were_deleted() -> None:
    demo.create_demo(passwords=PASSWORDS)
    assert not demo.letters_were_sent()
    mailbox = Mailbox.objects.get(address="jules@jules.maison.mrs")
    Maildrop.objects.create(mailbox=mailbox, uidvalidity=1, next_uid=2, message_count=0)
    assert demo.letters_were_sent()


def test_every_mailbox_gets_letters_that_are_whole() -> None:
    letters = [message_from_bytes(bytes(letter), policy=policy.default) for letter in demo._letters()]
    assert len(letters) >= 4
    addressed = {address.addr_spec for letter in letters for address in letter["To"].addresses}
    demo.create_demo(passwords=PASSWORDS)
    assert addressed == {login.name for login in demo.mail_logins(PASSWORDS)}
    for letter in letters:
        assert not letter.defects
        assert all(letter[name] for name in ("From", "Subject", "Date", "Message-ID"))


def test_a_server_that_refuses_a_letter_is_heard_of() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"554 no\r\n")
            connection.recv(100)

    serving = threading.Thread(target=refuse)
    serving.start()
    with listener, pytest.raises(OSError):
        demo.send_letters(port=listener.getsockname()[1])
    serving.join()
