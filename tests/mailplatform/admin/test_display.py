"""Cells of the admin's tables: what they say, and that nothing in them becomes markup."""

from datetime import UTC, datetime

import pytest

from accounts.models import Mailbox
from mailplatform.admin.display import badge, held_by, moment, moment_cell, quota_bar, size_of, used_percent
from mailstore.models import Maildrop


def holding(messages: int, octets: int, **quota: int) -> Mailbox:
    """A mailbox that is in no database."""
    mailbox = Mailbox(pk=1, **quota)
    mailbox.maildrop = Maildrop(mailbox=mailbox, uidvalidity=1, message_count=messages, octets=octets)
    return mailbox


def test_a_mailbox_that_was_never_used_holds_nothing(mailbox: Mailbox) -> None:
    assert not hasattr(mailbox, "maildrop")
    assert held_by(mailbox) == (0, 0)
    assert size_of(mailbox) == "0 messages (0\xa0bytes)"
    assert used_percent(mailbox) is None


@pytest.mark.parametrize(
    ("messages", "octets", "quota", "percent"),
    [
        (5, 500, {}, None),
        (5, 500, {"quota_octets": 1000}, 50),
        (5, 500, {"quota_messages": 6}, 83),
        (5, 500, {"quota_octets": 1000, "quota_messages": 6}, 83),
        (5, 999, {"quota_octets": 1000, "quota_messages": 6}, 99),
        (0, 0, {"quota_octets": 1000}, 0),
        (9, 1630, {"quota_octets": 1000}, 163),
    ],
)
def test_used_is_of_the_quota_that_ends_first(
    messages: int, octets: int, quota: dict[str, int], percent: int | None
) -> None:
    assert used_percent(holding(messages, octets, **quota)) == percent


@pytest.mark.parametrize(
    ("octets", "level", "width", "shown"),
    [(899, "fine", 89, 89), (900, "high", 90, 90), (1000, "full", 100, 100), (2500, "full", 100, 250)],
)
def test_the_bar_warns_before_a_quota_is_reached_and_never_leaves_its_frame(
    octets: int, level: str, width: int, shown: int
) -> None:
    bar = quota_bar(holding(3, octets, quota_octets=1000))
    assert f'class="mp-bar-{level}" style="width: {width}%"' in bar
    assert f'aria-valuenow="{width}"' in bar
    assert f"<span>{shown} %</span>" in bar


def test_the_bar_says_the_numbers() -> None:
    bar = quota_bar(holding(3, 500, quota_octets=1000, quota_messages=6))
    for attribute in ("title", "aria-label"):
        assert f'{attribute}="500\xa0bytes / 1000\xa0bytes, 3 / 6 messages"' in bar
    assert "no limit" in quota_bar(holding(3, 500))


def test_moments_sort_as_text() -> None:
    when = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    assert moment(when) == "2026-03-04 05:06"
    assert "2026-03-04 05:06" in moment_cell(when)
    assert moment(None) == ""
    assert ">-<" in moment_cell(None)


def test_a_badge_is_text() -> None:
    shown = badge("<b>&", "danger", title='"><script>')
    assert "&lt;b&gt;&amp;" in shown
    assert "<script>" not in shown
