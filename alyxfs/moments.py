"""Dates and times as servers and people write them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FRACTION = re.compile(r"\.(\d+)")


def moment_of(text: str) -> datetime | None:
    """A date and time in ISO's form, with its time zone where it names one; None where it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    # Python 3.10 reads neither a Z at the end nor fractions that are not 3 or 6 digits long.
    plain = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text)
    try:
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", plain))
    except ValueError:
        return None


def naive_utc(text: str) -> datetime | None:
    """The same as Alyx stores it: naive UTC (measured on 3.6.1); None also where it lies before the year 1 there."""
    moment = moment_of(text)
    if moment is None or moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:
        return None
