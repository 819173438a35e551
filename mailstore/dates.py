"""Dates as mail writes them (RFC 5322, 3.3, the forms before it, and asctime), read leniently."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz

#: No mail is older; an earlier date is a mistake. In the last year of the calendar a moment could not be shown in
#: every time zone.
_YEARS = range(1970, 9999)


def names_date(text: str) -> bool:
    """Whether `text` is written as a date is, be it one that never was or is no mail's."""
    try:
        return parsedate_tz(text) is not None
    except (ValueError, OverflowError, IndexError, TypeError):
        return False


def read_date(text: str) -> datetime | None:
    """The moment `text` names, in UTC; without a zone it is taken as UTC. None where it names none, never an error."""
    try:
        parts = parsedate_tz(text)
        if parts is None:
            return None
        zone = timezone(timedelta(seconds=parts[9] or 0))
        date = datetime(*parts[:6], tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return date if date.year in _YEARS else None


def read_timestamp(seconds: float) -> datetime | None:
    """The moment of so many `seconds` since 1970, in UTC; None where it is out of reach."""
    try:
        date = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return date if date.year in _YEARS else None
