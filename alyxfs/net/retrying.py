"""When something that failed is tried again, and after which failures at all. Pure: who tries keeps count and sleeps.

That only what cannot change anything is tried again is decided where it is sent (client, files/transfer/download).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from alyxfs import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST_PAUSE = 0.2
"""Seconds, where the server asks for less."""
LONGEST_REQUESTED_PAUSE = 600.0
"""Seconds: a server that asks for more is obeyed for so long, then asked again."""
TOO_MANY_REQUESTS = 429
GATEWAY_STATUSES = frozenset({502, 503, 504})
"""A gateway's answers: the server itself did not see the request, or asks for a pause."""
NONSENSE_STATUSES = frozenset({200, 206, 416})
"""Of a ServerFault: an answer to the question for a range, but none that can be true."""
FAILURES_FROM = 500
"""From this status on the server says that it failed, which may be over the next time."""


@dataclass(frozen=True)
class Patience:
    """How long one kind of request is tried."""

    tries: int | None
    """Of a server that does not answer, or says that it fails; None: as long as there is time."""
    tries_of_nonsense: int
    """Of one whose answers cannot be true."""
    first_pause: float
    """Seconds; each further pause is twice as long."""
    longest_pause: float


OF_REQUESTS = Patience(tries=3, tries_of_nonsense=3, first_pause=0.2, longest_pause=5.0)
"""Of the API: what is known, though old, is better than a long wait."""
WHILE_AWAY = Patience(tries=None, tries_of_nonsense=1, first_pause=0.5, longest_pause=2.0)
"""Of the API where nothing is known that could be shown instead: a program should not notice a short outage."""
OF_FILES = Patience(tries=None, tries_of_nonsense=5, first_pause=0.1, longest_pause=2.0)
"""Of data files: a program that reads one should not notice that its server was started anew."""


def next_pause(
    patience: Patience, error: errors.AlyxfsError, failures: int, left: float, asked: float | None, jitter: float
) -> float | None:
    """Seconds until the next try after this error, the so-manieth in a row without progress; None: it is of no use.

    ``left``: seconds until the deadline; ``asked``: the pause that the server asks for, if any; ``jitter``: 0 to 1.
    A pause that the server asks for is never cut short: where there is no time for it, there is no further try.
    """
    if isinstance(error, errors.Throttled):
        tries = None
    elif isinstance(error, errors.Unreachable):
        tries = patience.tries
    elif isinstance(error, errors.ServerFault):
        if isinstance(error, errors.Garbled) or error.status in NONSENSE_STATUSES:
            tries = patience.tries_of_nonsense
        elif error.status is None or error.status >= FAILURES_FROM:
            tries = patience.tries
        else:
            return None
    else:
        return None
    if tries is not None and failures >= tries:
        return None
    if asked is not None:
        return asked if asked < left else None
    pause = min(patience.first_pause * 2.0 ** min(failures - 1, 30), patience.longest_pause) * (0.5 + jitter / 2)
    return pause if pause < left else None


def requested_pause(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait; None where it does not ask."""
    return retry_after(headers) or (1.0 if status == TOO_MANY_REQUESTS else None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: a number, or a date (RFC 9110) by the server's own clock; None: none."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        seconds = float(value[:18])
    else:
        try:
            seconds = _timestamp(value) - _now(headers)
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(SHORTEST_PAUSE, seconds), LONGEST_REQUESTED_PAUSE)


def _timestamp(value: str) -> float:
    return parsedate_to_datetime(value).timestamp()


def _now(headers: Mapping[str, str]) -> float:
    """Unix seconds by the clock of who answered, else by ours."""
    try:
        return _timestamp(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return time.time()
