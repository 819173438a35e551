"""One look at an account: what is new comes, once, byte for byte; what is stored may go there; and nothing else does."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DataError
from django.utils import timezone
from pytest_django import Settings

from accounts.lookup import FoundMailbox
from collecting import look as looking
from collecting.claims import claim_one
from collecting.errands import Errand, run
from collecting.look import LoginError, OverQuotaError, SelfError
from collecting.models import SeenMessage, Source
from collecting.outcomes import record
from collecting.services import save_source
from collecting.trace import envelope_of
from mailstore.delivery import Body, Outcome
from mailstore.maildrop import OpenRequest, open_maildrops
from mailstore.models import Message
from mailstore.removal import remove_mailboxes
from tests.collecting.sources import PASSWORD, collect, collected, make_source
from tests.mailstore.mailboxes import assert_counters_fit, make_mailbox
from tests.mailstore.pop3_server import DROP, ScriptedPop3

MINUTE = timedelta(minutes=1)
#: For servers whose threads ask the database.
seen_by_others = pytest.mark.django_db(transaction=True)
ONE = b"Return-Path: <a@b>\r\nSubject: one\r\n\r\n.dot\r\n"
TWO = b"Subject: two\r\n\r\n" + b"x" * 5000 + b"\r\n"
THREE = "Subject: trois é\r\n\r\n\xff".encode("latin-1") + b"\r\n"


def server(*messages: bytes, **script: object) -> ScriptedPop3:
    """A server with these messages, whose unique-ids are u1, u2, ..."""
    return ScriptedPop3([(b"u%d" % n, each) for n, each in enumerate(messages, start=1)], dict(script))


class TestKeeping:
    def test_all_comes_once_in_order_and_stays_there(self, mailbox: FoundMailbox) -> None:
        with server(ONE, TWO, THREE).serving() as other:
            source = make_source(mailbox, other)
            assert collect(source)[0].stored == 3
            assert collected(mailbox) == [ONE, TWO, THREE]
            assert collect(source) == (looking.Look(), None)
            other.messages.append((b"u4", ONE))
            assert collect(source)[0].stored == 1
            assert collected(mailbox) == [ONE, TWO, THREE, ONE]
        assert other.said("RETR") == ["1", "2", "3", "4"]
        assert other.said("DELE") == []
        assert (source.collected, source.last_error, source.claimed_by) == (4, "", None)
        assert source.collected_octets == sum(map(len, (ONE, TWO, THREE, ONE)))
        assert_counters_fit(mailbox.id)

    def test_the_trace_says_from_where(self, mailbox: FoundMailbox, settings: Settings) -> None:
        settings.MAIL_HOSTNAME = "jules.maison.mrs"
        with ScriptedPop3().serving() as other:
            source = make_source(mailbox, other, login="charles (x)")
        envelope = envelope_of(source, "1", timezone.now())
        top = envelope.trace_header("charles@maison.mrs").decode()
        assert top.startswith("Delivered-To: charles@maison.mrs\r\nReceived: from 127.0.0.1 (account charles??x?)\r\n")
        assert "\tby jules.maison.mrs with POP3 id 1;" in top
        assert "Return-Path" not in top

    def test_what_others_say_of_it_in_our_name_is_taken_out(self, mailbox: FoundMailbox, settings: Settings) -> None:
        forged = f"Authentication-Results: {settings.MAIL_HOSTNAME}; dmarc=pass\r\n".encode()
        theirs = b"Authentication-Results: other.example; dmarc=fail\r\n"
        large = b"X: " + b"x" * 70_000 + b"\r\n" + forged
        with server(theirs + forged + ONE, large + ONE, TWO + forged).serving() as other:
            source = make_source(mailbox, other, keep=False)
            collect(source)
        assert "more than 64 KiB" in source.last_error
        assert collected(mailbox) == [theirs + ONE, TWO + forged]
        assert [uid for uid, _ in other.messages] == [b"u2"]


class TestDeleting:
    def test_what_is_stored_goes_there(self, mailbox: FoundMailbox) -> None:
        with server(ONE, TWO).serving() as other:
            collect(make_source(mailbox, other, keep=False))
        assert other.messages == []
        assert other.commands[-3:] == ["DELE 1", "DELE 2", "QUIT"]
        assert collected(mailbox) == [ONE, TWO]

    def test_a_quit_that_is_lost_deletes_the_next_time_and_fetches_nothing_again(self, mailbox: FoundMailbox) -> None:
        with server(ONE, TWO, QUIT=DROP).serving() as other:
            source = make_source(mailbox, other, keep=False)
            assert "closed" in str(collect(source)[1])
            assert len(other.messages) == 2
            other.script.clear()
            assert collect(source) == (looking.Look(), None)
        assert other.messages == []
        assert other.said("RETR") == ["1", "2"]
        assert collected(mailbox) == [ONE, TWO]

    def test_nothing_goes_that_is_not_stored(self, mailbox: FoundMailbox, settings: Settings) -> None:
        settings.MAIL_MAX_OCTETS = len(ONE)
        with server(TWO, ONE, THREE, RETR=lambda n: b"-ERR gone\r\n" if n == "3" else None).serving() as other:
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source)
        assert (found.stored, found.too_large, found.aside, error) == (1, 1, 1, None)
        assert "larger than" in source.last_error
        assert "message 3: the server said “gone”" in source.last_error
        assert [uid for uid, _ in other.messages] == [b"u1", b"u3"]

    def test_of_copies_with_one_unique_id_none_goes_before_all_are_here(self, mailbox: FoundMailbox) -> None:
        other = ScriptedPop3([(b"u", ONE), (b"u", TWO)], {"RETR": lambda n: b"-ERR later\r\n" if n == "2" else None})
        with other.serving():
            source = make_source(mailbox, other, keep=False)
            collect(source)
            assert len(other.messages) == 2
            other.script.clear()
            collect(source)
        assert other.messages == []
        assert collected(mailbox) == [ONE, TWO]


class TestRemembering:
    def test_what_is_not_listed_any_more_is_forgotten_after_a_week(self, mailbox: FoundMailbox) -> None:
        now = timezone.now()
        with server(ONE, TWO).serving() as other:
            source, kept = make_source(mailbox, other), list(other.messages)
            collect(source, now)
            other.messages = []  # the server has a bad day
            collect(source, now)
            other.messages = list(kept)
            assert collect(source, now + timedelta(days=8))[0].stored == 0
            other.messages = kept[:1]
            collect(source, now + timedelta(days=9))
            collect(source, now + timedelta(days=17))
        assert SeenMessage.objects.get().stored
        assert len(collected(mailbox)) == 2

    def test_rfc_1939_7_a_unique_id_that_is_given_again_once_its_message_was_deleted(
        self, mailbox: FoundMailbox
    ) -> None:
        with server(ONE).serving() as other:
            source = make_source(mailbox, other, keep=False)
            collect(source)
            collect(source)
            other.messages = [(b"u1", TWO)]
            collect(source)
            assert other.messages == []
        assert collected(mailbox) == [ONE, TWO]

    def test_unique_ids_longer_than_rfc_1939_allows(self, mailbox: FoundMailbox) -> None:
        long = [b"x" * 500 + b"%d" % n for n in range(2)]
        with ScriptedPop3([(long[0], ONE), (long[1], TWO)]).serving() as other:
            source = make_source(mailbox, other)
            assert (collect(source)[0].stored, collect(source)[0].stored) == (2, 0)

    def test_a_server_without_uidl_is_told_of(self, mailbox: FoundMailbox) -> None:
        with server(ONE, UIDL=b"-ERR unknown command\r\n").serving() as other:
            source = make_source(mailbox, other)
            collect(source)
        assert "no unique-ids (UIDL)" in source.last_error
        assert collected(mailbox) == []


class TestWhatCannotBeFetched:
    def test_ten_that_are_always_refused_keep_nothing_away(self, mailbox: FoundMailbox) -> None:
        def refused(number: str) -> bytes | None:
            return b"-ERR damaged\r\n" if int(number) <= 10 else None

        now = timezone.now()
        with server(*[TWO] * 10, ONE, RETR=refused).serving() as other:
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source, now)
            assert (found.stored, found.aside, error) == (1, 10, None)
            assert "could not be fetched, and is tried again from time to time: 10" in source.last_error
            assert "the server said “damaged”" in source.last_error
            assert (source.failures, source.last_success_at, source.next_look_at) == (0, now, now + 15 * MINUTE)
            other.messages.append((b"u12", THREE))
            assert collect(source, now + 15 * MINUTE)[0].stored == 1
        assert collected(mailbox) == [ONE, THREE]
        assert len(other.messages) == 10

    def test_it_is_tried_again_rarely_behind_what_is_new_and_not_lost_sight_of(self, mailbox: FoundMailbox) -> None:
        now = timezone.now()
        with server(ONE, RETR=b"-ERR damaged\r\n").serving() as other:
            source = make_source(mailbox, other)
            for quarter in range(4 * 24 * 2):
                collect(source, now + quarter * 15 * MINUTE)
                assert ": 1 (one of them: message 1: the server said “damaged”)" in source.last_error
            assert len(other.said("RETR")) == 5  # at once, with the next look, after 1, 6 and 24 hours
            other.script["RETR"] = lambda number: b"-ERR damaged\r\n" if number == "1" else None
            other.messages.append((b"u2", TWO))
            collect(source, now + timedelta(days=30))
            assert other.said("RETR")[5:] == ["2", "1"]
            other.script.clear()
            assert collect(source, now + timedelta(days=40))[0].stored == 1
            assert collect(source, now + timedelta(days=80)) == (looking.Look(), None)
        assert collected(mailbox) == [TWO, ONE]
        assert source.last_error == ""

    def test_one_over_which_the_connection_ends_keeps_nothing_away(self, mailbox: FoundMailbox) -> None:
        with server(ONE, TWO, RETR=lambda number: DROP if number == "1" else None).serving() as other:
            source = make_source(mailbox, other)
            assert "closed" in str(collect(source)[1])
            found, error = collect(source)
            assert (found.stored, "closed" in str(error)) == (1, True)  # tried again, behind the other
            found, error = collect(source)
            assert (found.aside, error) == (1, None)
        assert collected(mailbox) == [TWO]

    @pytest.mark.parametrize("error", [ValueError, DataError])
    def test_one_that_is_too_much_for_us_keeps_nothing_away(
        self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        def deliver(*, body: Body, **more: Any) -> list[Outcome]:
            if b"Subject: two" in body.header():
                raise error("a detail")
            return real(body=body, **more)

        real = looking.deliver
        monkeypatch.setattr(looking, "deliver", deliver)
        with server(ONE, TWO, THREE).serving() as other:
            source = make_source(mailbox, other)
            errors = [type(collect(source)[1]) for _ in range(3)]
        assert collected(mailbox) == [ONE, THREE]
        assert errors == [error, error, type(None)]  # tried again at once, behind the other
        assert looking.OUR_ERROR in source.last_error
        assert "a detail" not in source.last_error

    def test_one_that_the_server_does_not_delete_is_told_of(self, mailbox: FoundMailbox) -> None:
        with server(ONE, TWO, DELE=lambda number: b"-ERR no\r\n" if number == "1" else None).serving() as other:
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source)
        assert (found.stored, found.undeleted, error) == (2, 1, None)
        assert "not deleted there" in source.last_error
        assert [uid for uid, _ in other.messages] == [b"u1"]


class TestAnotherAccount:
    def test_what_was_seen_elsewhere_says_nothing_of_what_is_there(self, mailbox: FoundMailbox) -> None:
        """Servers that number their messages have the same unique-ids for different ones."""
        with server(ONE).serving() as other, server(TWO).serving() as second:
            source = make_source(mailbox, other)
            collect(source)
            source.port, source.keep = second.port, False
            save_source(source=source, password=PASSWORD)
            collect(source)
            assert collected(mailbox) == [ONE, TWO]
        assert second.messages == []

    def test_the_same_by_tls_is_no_other(self, mailbox: FoundMailbox) -> None:
        source = make_source(mailbox, ScriptedPop3(port=110), host="pop.example.org")
        SeenMessage.objects.create(source=source, digest="1", stored=True)
        source.port, source.tls = 995, Source.Tls.IMPLICIT
        save_source(source=source, password=PASSWORD)
        assert SeenMessage.objects.count() == 1
        source.login = "anna"
        save_source(source=source, password=PASSWORD)
        assert SeenMessage.objects.count() == 0

    @seen_by_others
    def test_whoever_is_still_at_the_old_one_stores_nothing_more(self, mailbox: FoundMailbox) -> None:
        def changed(number: str) -> None:
            source = Source.objects.get()
            source.login = "anna"
            save_source(source=source, password=PASSWORD)

        with server(ONE, RETR=changed).serving() as other:
            collect(make_source(mailbox, other))
        assert collected(mailbox) == []
        assert not SeenMessage.objects.exists()


class TestLimits:
    def test_a_full_mailbox_keeps_what_it_has_and_deletes_nothing_else_there(self, db: None) -> None:
        mailbox = make_mailbox("anna", quota_messages=1)
        with server(ONE, TWO).serving() as other:
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source)
            assert (found.stored, type(error)) == (1, OverQuotaError)
            assert [uid for uid, _ in other.messages] == [b"u2"]
            assert other.said("RETR") == ["1"]
        assert "the mailbox is full" in source.last_error

    def test_a_server_that_lies_about_sizes_is_broken_off_once(self, mailbox: FoundMailbox, settings: Settings) -> None:
        settings.MAIL_MAX_OCTETS = 3000
        with server(TWO, ONE, LIST=b"+OK\r\n1 10\r\n2 10\r\n.\r\n").serving() as other:
            source = make_source(mailbox, other, keep=False)
            assert "more than 3000 octets" in str(collect(source)[1])
            assert collected(mailbox) == []
            assert collect(source)[0].stored == 1  # the one behind it
            assert [uid for uid, _ in other.messages] == [b"u1"]

    def test_a_message_that_ends_in_its_middle_stays_there(self, mailbox: FoundMailbox) -> None:
        broken = b"+OK\r\nSubject: x\r\n.\r\n-ERR the rest\r\n.\r\n"
        with server(ONE, TWO, RETR=lambda n: broken if n == "1" else None).serving() as other:
            source = make_source(mailbox, other, keep=False)
            assert "behind the end" in str(collect(source)[1])
            assert collect(source)[0].stored == 1
        assert collected(mailbox) == [TWO]
        assert [uid for uid, _ in other.messages] == [b"u1"]

    def test_so_many_with_one_look(self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(looking, "MESSAGES", 2)
        now = timezone.now()
        with server(ONE, TWO, THREE).serving() as other:
            source = make_source(mailbox, other)
            assert collect(source, now)[0].more
            assert source.next_look_at == now
            collect(source, now)
        assert len(collected(mailbox)) == 3

    def test_what_is_too_large_keeps_nothing_else_away(
        self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        monkeypatch.setattr(looking, "MESSAGES", 1)
        settings.MAIL_MAX_OCTETS = 1000
        with server(TWO, TWO, ONE).serving() as other:
            found, _ = collect(make_source(mailbox, other))
        assert (found.stored, found.too_large, found.more) == (1, 2, False)

    def test_a_server_that_gives_nothing_is_not_asked_for_all(
        self, mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looking, "REFUSED_IN_A_ROW", 3)
        with server(*[ONE] * 7, RETR=b"-ERR no\r\n").serving() as other:
            source = make_source(mailbox, other)
            assert type(collect(source)[1]) is looking.RefusingError
            assert other.said("RETR") == ["1", "2", "3"]
            assert (source.failures, source.last_success_at) == (1, None)
            collect(source)
            assert other.said("RETR")[3:] == ["4", "5", "6"]  # it begins behind them
            other.script.clear()
            collect(source)
        assert len(collected(mailbox)) == 7


class TestLoops:
    def test_what_was_here_before_it_was_collected_elsewhere_stays_there(self, mailbox: FoundMailbox) -> None:
        """charles@jules and charles@alfred collect from each other: each has all, once."""
        with server(ONE).serving() as other:
            there = make_mailbox("elsewhere")
            collect(make_source(there, other))
            (copy,) = [b"Delivered-To: charles@maison.mrs\r\n" + each for each in collected(there)]
            collected_there = b"Delivered-To: there@b\r\nReceived: from a\r\n\tby b with POP3 id 1; x\r\n" + copy
            other.messages = [(b"v1", collected_there), (b"v2", copy)]
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source)
            assert (found.stored, found.left, error) == (1, 1, None)  # v2 was never collected: it is new
            assert [uid for uid, _ in other.messages] == [b"v1"]
            assert collect(source)[0] == looking.Look()

    def test_a_message_with_a_hundred_hops(self, mailbox: FoundMailbox) -> None:
        with server(b"Received: x\r\n" * 101 + b"\r\nx\r\n", b"Received: x\r\n" * 99 + b"\r\nx\r\n").serving() as other:
            assert collect(make_source(mailbox, other))[0].left == 1

    @seen_by_others
    def test_the_mailbox_itself_is_known_by_its_lock(self, mailbox: FoundMailbox) -> None:
        def opens(word: str) -> None:
            open_maildrops([OpenRequest(mailbox.id, uuid4())])

        with server(ONE, PASS=opens).serving() as other:
            assert type(collect(make_source(mailbox, other, login="charles@maison.mrs"))[1]) is SelfError
            (found, error) = collect(make_source(make_mailbox("anna"), other, login="charles@maison.mrs"))
        assert (found.stored, error) == (1, None)
        assert collected(mailbox) == []


class TestClaims:
    @seen_by_others
    def test_whoever_has_lost_the_claim_stores_nothing(self, mailbox: FoundMailbox) -> None:
        def taken_over(number: str) -> None:
            Source.objects.update(claimed_by="00000000-0000-0000-0000-000000000001")

        with server(ONE, TWO, RETR=taken_over).serving() as other:
            source = make_source(mailbox, other, keep=False)
            found, error = collect(source)
        assert (found.stored, error) == (0, None)
        assert str(source.claimed_by).endswith("1")  # the other's
        assert not Message.objects.exists()
        assert not SeenMessage.objects.exists()
        assert len(other.messages) == 2

    @seen_by_others
    def test_a_mailbox_that_goes_away_meanwhile(self, mailbox: FoundMailbox) -> None:
        def removed(number: str) -> None:
            remove_mailboxes(mailbox_ids=[mailbox.id])

        with server(ONE, TWO, UIDL=removed).serving() as other:
            source = make_source(mailbox, other)
            claimed = claim_one(source.pk, "00000000-0000-0000-0000-000000000001", timezone.now())
            errand = Errand()
            error = run(claimed, errand)
            record(claimed, errand.found, error, timezone.now())
        assert (errand.found.stored, error) == (0, None)
        assert not Source.objects.exists()


def test_errors_of_a_login(mailbox: FoundMailbox) -> None:
    with server(ONE, PASS=b"-ERR [AUTH] wrong\r\n").serving() as other:
        assert type(collect(make_source(mailbox, other))[1]) is LoginError
        other.script["PASS"] = b"-ERR [IN-USE] wait\r\n"
        assert not isinstance(collect(make_source(mailbox, other, login="b"))[1], LoginError)
