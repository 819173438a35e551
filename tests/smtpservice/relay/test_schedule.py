"""RFC 5321, 4.5.4.1: when a message is tried again."""

from datetime import UTC, datetime, timedelta

from smtpservice.relay.schedule import DELAY_TOLD_AFTER, RETRY_AFTER, next_attempt

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def attempts_within(span: timedelta) -> int:
    moment, made = NOW, 0
    while moment < NOW + span:
        made += 1
        moment = next_attempt(made, moment)
    return made


def test_rfc_5321_4_5_4_1_twice_at_least_in_the_first_hour_then_every_two_or_three_hours() -> None:
    assert attempts_within(timedelta(hours=1)) >= 3
    assert timedelta(hours=2) <= RETRY_AFTER[-1] <= timedelta(hours=3)
    assert 40 <= attempts_within(timedelta(days=5)) <= 50


def test_intervals_only_grow() -> None:
    assert list(RETRY_AFTER) == sorted(RETRY_AFTER)
    assert next_attempt(1000, NOW) == NOW + RETRY_AFTER[-1]


def test_the_sender_is_told_of_a_delay_once_several_attempts_have_failed() -> None:
    assert attempts_within(DELAY_TOLD_AFTER) >= 5
