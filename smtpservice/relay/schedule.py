"""When a message is tried again, and when its sender is told (RFC 5321, 4.5.4.1). Pure.

The first attempt is made at once. RFC 5321 has intervals of half an hour in general, two attempts in the first hour,
then one every two or three hours, for four or five days: RELAY_GIVE_UP_DAYS. The first intervals are shorter, since
most of what is refused for the moment is greylisted, and greylists open after some minutes.
"""

from datetime import datetime, timedelta

#: The interval after the first attempt that failed, after the second, and so on; the last one for all that follow.
RETRY_AFTER = (
    timedelta(minutes=5),  # 5 min after the message was queued
    timedelta(minutes=10),  # 15 min
    timedelta(minutes=15),  # 30 min
    timedelta(minutes=30),  # 1 h
    timedelta(hours=1),  # 2 h
    timedelta(hours=2),  # 4 h: the sender is told that it is late
    timedelta(hours=3),  # every three hours, about forty times in five days
)
#: After how long a sender is told that a message still waits. It is told once.
DELAY_TOLD_AFTER = timedelta(hours=4)


def next_attempt(attempts: int, now: datetime) -> datetime:
    """When the next attempt follows the one that begins now and is the `attempts`-th (from 1)."""
    return now + RETRY_AFTER[min(attempts, len(RETRY_AFTER)) - 1]
