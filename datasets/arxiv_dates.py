"""Dates as arXiv's metadata write them: RFC 2822 ("Mon, 2 Apr 2007 19:18:42 GMT") or ISO 8601."""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime
from typing import Any

EPOCH = dt.date(1970, 1, 1)
LAST_YEAR = 2099  # later ones are slips of the pen
_ISO = re.compile(r"\d{4}-?\d\d-?\d\d")

# Identifiers tell the month of submission: 0704.0001, 2501.12345, hep-th/9901001.
_NEW_ID = re.compile(r"(\d\d)(\d\d)\.\d{4,5}")
_OLD_ID = re.compile(r"[a-z-]+(?:\.[A-Z]{2})?/(\d\d)(\d\d)\d{3}")


def moment(written: Any) -> dt.datetime | None:
    """A point in time, UTC without a zone; None for what is no date between 1970 and 2099.

    Takes text in either form, dates, datetimes, and whole numbers: days since 1970-01-01.
    """
    try:
        found = _read(written)
        if found.tzinfo is not None:
            found = found.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return found.replace(microsecond=0) if EPOCH.year <= found.year <= LAST_YEAR else None


def day(written: Any) -> dt.date | None:
    """The day of `moment`, in UTC."""
    found = moment(written)
    return None if found is None else found.date()


def days_since_1970(date: dt.date) -> int:
    return (date - EPOCH).days


def year_of_id(identifier: str) -> int | None:
    """The year of submission that an identifier tells, None for one of another form."""
    match = _NEW_ID.fullmatch(identifier) or _OLD_ID.fullmatch(identifier)
    if match is None or not 1 <= int(match[2]) <= 12:
        return None
    year = int(match[1])
    return 1900 + year if year > 90 else 2000 + year


def _read(written: Any) -> dt.datetime:
    if isinstance(written, dt.datetime):
        return written
    if isinstance(written, dt.date):
        return dt.datetime.combine(written, dt.time())
    if isinstance(written, bool):
        raise TypeError("a truth value is no date")
    if isinstance(written, int):
        return dt.datetime.combine(EPOCH + dt.timedelta(days=written), dt.time())
    text = str(written).strip()
    return dt.datetime.fromisoformat(text) if _ISO.match(text) else parsedate_to_datetime(text)
