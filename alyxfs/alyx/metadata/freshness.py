"""How old an answer may be, what was declared out of date, and whether the server can be asked at all."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import trio

from alyxfs import clock, errors

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

DOWN_PAUSE = 2.0
"""Seconds after a failure to get an answer during which what is known is served without asking."""

GATEWAY_FAILURES = frozenset({502, 503, 504})
"""Statuses with which a web server in front of Alyx says that Alyx does not answer."""

DOWN = (errors.Unreachable, errors.DeadlineExceeded, errors.Throttled, errors.ServerFault)
"""Failures in spite of which what is known may be served. AccessDenied is none: the user must get to know of it."""


NOT_HAD = (*DOWN, errors.NotInSnapshot)
"""Failures in spite of which a directory shows the rest of what it has."""

FOR_EVER = 365 * 86_400.0
"""Seconds that stand for a time to live without end, for the kernel and for people."""


def is_young(asked_at: float, time_to_live: float) -> bool:
    """Whether something asked for at this time (Unix seconds) was so within the last ``time_to_live`` seconds."""
    # What was asked for in the future is of a clock that was set back since: nobody knows how old it is.
    return 0 <= clock.now() - asked_at < time_to_live


GONE_ON_WITH = 3600.0
"""Seconds after its last page for which a long walk is: that of two million rows takes as long."""


class Freshness:
    """One for a drive. State changes only in methods that never await."""

    def __init__(self, time_to_live: float, times_to_live: Mapping[str, float] | None = None) -> None:
        self.time_to_live = time_to_live
        """Seconds, of the endpoints that have no time of their own."""
        self.times_to_live = dict(times_to_live or {})
        """Seconds, by endpoint."""
        self.stale_since: float | None = None
        """Unix seconds of the first failure to reach the server; None while it answers."""
        self.last_error: str | None = None
        self._down_until = 0.0
        self._outdated: dict[tuple[str, str | None], float] = {}
        self._details_outdated: dict[str, float] = {}

    def time_to_live_of(self, endpoint: str) -> float:
        """Seconds for which an answer of this endpoint counts as fresh."""
        return self.times_to_live.get(endpoint, self.time_to_live)

    def outdate(self, endpoint: str, key: str | None) -> None:
        """What was asked before now of this record, or (no key) of the endpoint's lists, is no longer fresh."""
        now = clock.now()

        def matters(name: tuple[str, str | None], at: float) -> bool:
            return now - at < max(self.time_to_live_of(name[0]), clock.LONGEST_OPERATION)

        self._outdated = {name: at for name, at in self._outdated.items() if matters(name, at)}
        self._outdated[endpoint, key] = now

    def outdate_details(self, endpoint: str) -> None:
        """No record of this endpoint that was asked for before now is fresh any longer."""
        self._details_outdated[endpoint] = clock.now()

    def is_outdated(self, endpoint: str, key: str | None, asked_at: float) -> bool:
        """Whether something asked for at this time (Unix seconds) was declared out of date since."""
        if key is not None and asked_at <= self._details_outdated.get(endpoint, 0.0):
            return True
        return asked_at <= self._outdated.get((endpoint, key), 0.0)

    def is_fresh(self, endpoint: str, key: str | None, asked_at: float) -> bool:
        """Whether something asked for at this time (Unix seconds) may be served without asking again.

        A time to live of 0 means that each operation asks once.
        """
        young = is_young(asked_at, self.time_to_live_of(endpoint)) or clock.is_of_this_operation(asked_at)
        return young and not self.is_outdated(endpoint, key, asked_at)

    def is_young(self, asked_at: float) -> bool:
        """The same of what no endpoint stands for."""
        return is_young(asked_at, self.time_to_live)

    def may_go_on(self, endpoint: str, begun_at: float, fetched_at: float) -> bool:
        """Whether a long walk is gone on with, of which the first and the last page were asked for at these times.

        It takes longer than most times to live, and begun anew it might never end.
        """
        return is_young(fetched_at, GONE_ON_WITH) and not self.is_outdated(endpoint, None, begun_at)

    @property
    def is_down(self) -> bool:
        """Whether the server could not be reached a moment ago."""
        return trio.current_time() < self._down_until

    def note_failure(self, error: errors.AlyxfsError) -> None:
        """The server failed; where it did not answer itself, it is not asked for what is known in the next moments."""
        self.last_error = str(error)
        if isinstance(error, errors.ServerFault) and error.status not in GATEWAY_FAILURES:
            return
        self._down_until = trio.current_time() + DOWN_PAUSE
        if self.stale_since is None:
            self.stale_since = time.time()
            log.info("the server cannot be reached; what is known is served: %s", error)

    def note_answer(self) -> None:
        """The server answered."""
        if self.stale_since is not None:
            log.info("the server answers again")
        self.stale_since = None
        self._down_until = 0.0


class Frozen(Freshness):
    """Of what is shown as it was at one moment: it never grows old, by whatever clock, and nothing is asked again."""

    def __init__(self) -> None:
        super().__init__(FOR_EVER)

    def outdate(self, endpoint: str, key: str | None) -> None:
        """Nothing changes."""

    def may_go_on(self, endpoint: str, begun_at: float, fetched_at: float) -> bool:  # noqa: ARG002 - of all the same
        """There is nobody to be asked."""
        return False

    def outdate_details(self, endpoint: str) -> None:
        """Nothing changes."""

    def is_outdated(self, endpoint: str, key: str | None, asked_at: float) -> bool:  # noqa: ARG002 - of all the same
        """Never."""
        return False

    def is_fresh(self, endpoint: str, key: str | None, asked_at: float) -> bool:  # noqa: ARG002 - of all the same
        """Always."""
        return True

    def is_young(self, asked_at: float) -> bool:  # noqa: ARG002 - of all the same
        """Always."""
        return True
