"""What is written down of a look: when the next one is, and when the owner is told."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from accounts.lookup import FoundMailbox
from accounts.models import Mailbox
from collecting.look import OUR_ERROR
from collecting.models import Source
from collecting.outcomes import LOGIN_WAIT, LONGEST_LOGIN_WAIT, LONGEST_WAIT, TOLD_AFTER
from tests.collecting.sources import collect, make_source
from tests.mailstore.pop3_server import DROP, ScriptedPop3
from tests.smtpservice.local import stored

NOW = timezone.now()


def waits(source: Source, number: int) -> list[timedelta]:
    """The waiting times after so many looks in a row, each when it was due."""
    found, now = [], NOW
    for _ in range(number):
        collect(source, now)
        found.append(source.next_look_at - now)
        now = source.next_look_at
    return found


def test_failures_in_a_row_wait_longer_and_longer(mailbox: FoundMailbox) -> None:
    with ScriptedPop3(script={"": DROP}).serving() as other:
        source = make_source(mailbox, other, interval_minutes=60)
        assert waits(source, 5) == [timedelta(hours=hours) for hours in (1, 2, 4, 6, 6)]
        assert (source.failures, source.failing_since) == (5, NOW)
        other.script.clear()
        assert waits(source, 1) == [timedelta(hours=1)]
    assert (source.failures, source.failing_since, source.last_error) == (0, None, "")
    assert source.last_success_at == NOW
    assert timedelta(hours=6) == LONGEST_WAIT


def test_a_refused_login_is_not_hammered(mailbox: FoundMailbox) -> None:
    with ScriptedPop3(script={"PASS": b"-ERR wrong\r\n"}).serving() as other:
        found = waits(make_source(mailbox, other, interval_minutes=1), 7)
    assert (found[0], found[-1], found == sorted(found)) == (LOGIN_WAIT, LONGEST_LOGIN_WAIT, True)


def test_the_interval_is_never_shortened(mailbox: FoundMailbox) -> None:
    with ScriptedPop3(script={"": DROP}).serving() as other:
        assert waits(make_source(mailbox, other, interval_minutes=7 * 24 * 60), 1) == [timedelta(days=7)]


def letters(mailbox: FoundMailbox) -> list[bytes]:
    return [each for each in stored(mailbox.address) if b"is not collected" in each]


def test_the_owner_is_told_once_for_each_streak_whatever_the_quota(mailbox: FoundMailbox) -> None:
    Mailbox.objects.update(quota_octets=1)

    def fail(source: Source, now: datetime) -> int:
        other.script["PASS"] = b"-ERR wrong password\r\n"
        collect(source, now)
        return len(letters(mailbox))

    with ScriptedPop3().serving() as other:
        source = make_source(mailbox, other)
        day = TOLD_AFTER
        assert [fail(source, NOW + times * day) for times in (0, 0.5, 1, 2, 30)] == [0, 0, 1, 1, 1]
        other.script.clear()
        collect(source, NOW + 31 * day)
        assert [fail(source, NOW + times * day) for times in (32, 33, 34)] == [1, 2, 2]
    letter = letters(mailbox)[0]
    assert letter.startswith(b"Return-Path: <>\r\nDelivered-To: charles@maison.mrs\r\n")
    assert "the server said “wrong password”".encode() in letter
    assert b"two words" not in letter


def test_an_error_of_ours_is_shown_without_detail(
    mailbox: FoundMailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("collecting.errands.look", fail)
    source = make_source(mailbox, ScriptedPop3(port=1))
    collect(source)
    assert source.last_error == OUR_ERROR
    assert "secret detail" in caplog.text
