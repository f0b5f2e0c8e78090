"""How fast a file server is, as its last answers showed: what is asked for ahead of a reader follows from it."""

from __future__ import annotations

from collections import deque

REMEMBERED = 8
"""Answers whose best figures count: one may have had to make its connection, or to wait for its reader."""
ENOUGH = 512 * 1024
"""Bytes of one answer that tell how fast they come; fewer may just have waited together in a buffer."""
GUESS = 125e6
"""Bytes a second, until it is known: 1 Gbit/s."""
ROUND_TRIPS = 2
"""What comes in so many round trips is to be on its way: one for the request, and one for what delays it."""


class Link:
    """See the module. Never awaits."""

    def __init__(self) -> None:
        self._round_trips: deque[float] = deque(maxlen=REMEMBERED)
        """Seconds from a request to the beginning of its answer."""
        self._speeds: deque[float] = deque(maxlen=REMEMBERED)
        """Bytes a second."""
        self.bytes_on_way = 0
        """What the link brings in ROUND_TRIPS; 0 as long as no answer came."""
        self.is_filling_proxy = False
        """Whether a caching proxy had to ask the server for what the last answer begins with."""

    def answered(self, seconds: float) -> None:
        """An answer has begun so many seconds after its request."""
        self._round_trips.append(seconds)
        self._look()

    def received(self, count: int, seconds: float) -> None:
        """So many bytes of an answer came, the first ones so many seconds ago."""
        if count >= ENOUGH and seconds > 0:
            self._speeds.append(count / seconds)
            self._look()

    def _look(self) -> None:
        speed = max(self._speeds, default=GUESS)
        self.bytes_on_way = int(ROUND_TRIPS * speed * min(self._round_trips, default=0.0))
