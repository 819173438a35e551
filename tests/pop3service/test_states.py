"""What a session is made of: replies that refuse, channels, and the sizes of a maildrop."""

from dataclasses import FrozenInstanceError

import pytest

from accounts.sasl import Authenticate
from pop3service.states import Authorization, Channel, Code, NoMessages, Refusal, Transaction
from pop3service.words import ENGLISH, Text
from tests.pop3service.memory import MemoryMaildrop, message


class TestRefusal:
    def test_the_code_stands_in_brackets_behind_err(self) -> None:
        """RFC 2449, 8."""
        assert Refusal(Text("busy"), Code.IN_USE).reply(ENGLISH) == b"-ERR [IN-USE] busy\r\n"
        assert Refusal(Text("what?")).reply(ENGLISH) == b"-ERR what?\r\n"

    def test_the_codes_are_registered_ones(self) -> None:
        """RFC 2449, 8.1; RFC 3206, 4 and 5."""
        assert {code.value for code in Code} <= {"LOGIN-DELAY", "IN-USE", "SYS/TEMP", "SYS/PERM", "AUTH"}

    def test_a_session_goes_on_after_it_unless_it_says_so(self) -> None:
        assert not Refusal(Text("busy")).ends
        assert Refusal(Text("enough"), ends=True).ends


class TestChannel:
    @pytest.mark.parametrize(
        ("channel", "takes_passwords", "offers_starttls"),
        [
            (Channel(), True, False),
            (Channel(plaintext=False), False, False),
            (Channel(starttls=True), True, True),
            (Channel(starttls=True, plaintext=False), False, True),
            (Channel(encrypted=True, plaintext=False), True, False),
            (Channel(encrypted=True, starttls=True), True, False),
        ],
    )
    def test_what_may_cross_it(self, channel: Channel, takes_passwords: bool, offers_starttls: bool) -> None:
        assert (channel.takes_passwords, channel.offers_starttls) == (takes_passwords, offers_starttls)

    def test_tls_makes_another_one_of_it(self) -> None:
        channel = Channel("dewey", starttls=True, plaintext=False)
        assert channel.with_tls() == Channel("dewey", encrypted=True, starttls=True, plaintext=False)
        with pytest.raises(FrozenInstanceError):
            channel.encrypted = True


def test_a_password_is_not_shown_with_the_request_that_holds_it() -> None:
    assert "secret" not in repr(Authenticate("mrose", "secret"))


def test_an_authorization_begins_without_a_name() -> None:
    state = Authorization(Channel(), failures=2)
    assert (state.login, state.failures) == ("", 2)


class TestTransaction:
    def test_deleted_messages_are_not_counted(self) -> None:
        transaction = Transaction(Channel(), MemoryMaildrop([message(100), message(200)]).opened)
        assert transaction.size() == (2, 300)
        transaction.deleted.add(1)
        transaction.deleted_octets += 200
        assert transaction.size() == (1, 100)

    def test_the_listing_of_an_empty_maildrop_is_known(self) -> None:
        assert Transaction(Channel(), MemoryMaildrop([message(100)]).opened).listing is None
        listing = Transaction(Channel(), MemoryMaildrop().opened).listing
        assert listing == NoMessages()
        assert [*listing.uids, *listing.octets, *listing.wire_octets, *listing.header_octets] == []
        assert listing.unique_ids == {}
        assert listing.at_hand(0) is None
