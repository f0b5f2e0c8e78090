"""The server's stamps of records (``auto_datetime``): when each was changed, by the server's clock.

They are naive and in its own local time (BEHAVIOUR of Alyx 3.6.1), and nothing tells its time zone. So they are
compared with each other and never with a clock: what changed since the last look has a stamp above the newest one seen,
or an hour below where clocks were set back meanwhile. Only the first look needs a clock, and the farthest time zones.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from alyxfs.moments import moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WESTERNMOST = timedelta(hours=12)
"""By which the local time of a server may be behind UTC."""
EASTERNMOST = timedelta(hours=14)
"""By which it may be ahead."""
SET_BACK = timedelta(hours=1)
"""By which clocks are set back in autumn; also what a server's clock that was wrong is most often wrong by at most."""
FIELD = "auto_datetime"


def newer_than(moment: datetime) -> str:
    """The condition of a ``django`` filter for records that were changed after a moment of the server's clock."""
    return f"{FIELD}__gt,{moment:%Y-%m-%dT%H:%M:%S}"


def stamp_of(row: Mapping[str, Any]) -> datetime | None:
    """When a record was changed, by the server's clock; None where it does not tell."""
    value = row.get(FIELD)
    moment = moment_of(value) if isinstance(value, str) else None
    return None if moment is None else moment.replace(tzinfo=None)


def newest_stamp(rows: Iterable[Mapping[str, Any]], now: float) -> datetime | None:
    """The newest stamp of these records at a moment (Unix seconds): those that no clock can show yet are wrong."""
    latest = utc(now) + EASTERNMOST
    return max((stamp for row in rows if (stamp := stamp_of(row)) is not None and stamp <= latest), default=None)


def utc(seconds: float) -> datetime:
    """Unix seconds as a naive time in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
