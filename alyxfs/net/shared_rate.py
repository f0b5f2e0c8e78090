"""How much all drives of a user ask one server in a minute: one small file, in which they take turns.

Servers count by user, not by drive. Drives that can see the same file, as those of one machine and those of all nodes
that share a home, so have one limit together. A turn is reserved in the file before the request is sent: who comes
later gets a later one, whichever drive it is. So a walk in one drive leaves room for a person at another, and drives
that wait are served in turn.

The file is of one length and rewritten in place, under a lock, in a thread. What is not as we write it begins anew: a
minute later nothing of it counts anyway. Where it cannot be used, the drive keeps to its limit by itself.
"""

from __future__ import annotations

import bisect
import errno
import fcntl
import logging
import math
import os
import random
import struct
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

import trio

from alyxfs import errors
from alyxfs.private_files import claim_folder, open_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

MINUTE = 60.0
"""Seconds."""
MOST = 1000.0
"""Requests a minute: who may ask more has a server without such a limit, and keeps to it alone. Half of them have their
times in the file, which is one page of the disk with that."""
AHEAD = 30.0
"""Seconds for which turns are reserved: as long as an operation waits, unless told otherwise."""
BELIEVED = 60.0
"""Seconds: a time that is further ahead is of a clock that was wrong. Twice the above, as clocks of nodes differ."""
BACK_OFF = (2.0, 8.0)
"""Seconds, the least and the most, after which a drive asks again where turns are taken for as long as may be."""
PATIENCE = 3.0
"""Seconds that the file may take, on a file server too."""
LOCKED = 2.0
"""Seconds that other drives may keep it locked."""
TRY_AGAIN = 10.0
"""Seconds after which a file that could not be used is tried again."""

_TIMES = 500
_FORM = struct.Struct(f"<16s3d{_TIMES}d")
_MARK = b"alyxfs turns 1\0\0"
_CHECK = struct.Struct("<I")
LENGTH = _FORM.size + _CHECK.size


def halves(requests_per_minute: float) -> tuple[int, float]:
    """How many of them may come at any moment, and the seconds between two of the others, which are spread."""
    at_once = math.ceil(requests_per_minute / 2)
    spread = int(requests_per_minute - at_once)
    return at_once, MINUTE / spread if spread else math.inf


class Turn(NamedTuple):
    """When a request may be sent."""

    at: float
    """Unix seconds."""
    is_reserved: bool
    """Else it is when to ask again, at the earliest."""


class Turns:
    """What is in the file. Half of the requests of a minute may come at any moment, half are spread, as in RequestRate.

    The limit of all is the highest that one of them had in the last minute; each keeps to its own besides.
    """

    def __init__(self, content: bytes = b"") -> None:
        """Read it; what is broken or of another length is as nothing."""
        self._times = [0.0] * _TIMES
        """Unix seconds of the first half, reserved ones too, in order."""
        self._spread_at = self._limit = self._limit_at = 0.0
        """When one of the second half was or is used last; the limit, and when somebody had it."""
        form, check = content[: _FORM.size], content[_FORM.size :]
        if len(content) == LENGTH and check == _CHECK.pack(zlib.crc32(form)) and form.startswith(_MARK):
            _, self._spread_at, self._limit, self._limit_at, *self._times = _FORM.unpack(form)

    def content(self) -> bytes:
        """As it is kept."""
        form = _FORM.pack(_MARK, self._spread_at, self._limit, self._limit_at, *self._times)
        return form + _CHECK.pack(zlib.crc32(form))

    def take(self, now: float, limit: float, sent: int) -> Turn:
        """Reserve the next turn for a drive with this ``limit`` of requests a minute, which has ``sent`` some without.

        Nothing is reserved where that is further ahead than AHEAD.
        """
        self._forget_later_than(now + BELIEVED)
        if not (limit < self._limit <= MOST and now - self._limit_at < MINUTE):
            self._limit, self._limit_at = limit, now
        at_once, interval = halves(self._limit)
        for _ in range(min(sent, _TIMES)):
            self._note(now, interval)
        of_spread = max(now, self._spread_at + interval)
        of_burst = max(now, self._times[-at_once] + MINUTE)
        at = min(of_spread, of_burst)
        if at > now + AHEAD:
            return Turn(at - AHEAD, is_reserved=False)
        self._note(at, interval)
        return Turn(at, is_reserved=True)

    def _note(self, at: float, interval: float) -> None:
        if self._spread_at + interval <= at:
            self._spread_at = at
        else:
            bisect.insort(self._times, at)
            del self._times[0]

    def _forget_later_than(self, latest: float) -> None:
        if not self._spread_at <= latest:
            self._spread_at = 0.0
        if not self._limit_at <= latest:
            self._limit = 0.0
        count = bisect.bisect_right(self._times, latest)
        self._times = [0.0] * (_TIMES - count) + self._times[:count]


class SharedRate:
    """The turns of one drive in the file ``path``. ``clock`` gives Unix seconds that all who share it have.

    State: changes in :meth:`wait_for_turn`, which one task at a time is in, and in :meth:`count`, which never awaits.
    """

    def __init__(self, path: Path, requests_per_minute: float, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.trouble = ""
        """Why the drive keeps to its limit alone, as a sentence; empty where it does not."""
        self.is_waiting = False
        """It is not this drive's turn yet, for which somebody waits."""
        self._limit = requests_per_minute
        self._clock = clock
        self._sent = 0
        """Requests that were sent without a turn, and do not stand in the file yet."""
        self._reserved = -math.inf
        """Trio time of the turn that is reserved: who stops waiting leaves it to the next."""
        self._try_again_at = -math.inf
        """Trio time before which the file is left alone."""
        self._told = ""
        self._thread = trio.CapacityLimiter(1)
        """Taken as long as a thread is at the file, also one that nobody waits for any more."""

    def count(self) -> None:
        """Count a request that is sent without waiting; it is written to the file with the next one that waits."""
        self._sent += 1

    async def wait_for_turn(self) -> None:
        """Sleep until a request may be sent. At once where the file cannot be used."""
        if self._reserved < trio.current_time() and not await self._reserve():
            return
        await self._sleep_until(self._reserved)
        self._reserved = -math.inf

    async def _reserve(self) -> bool:
        """Have a turn reserved. False where the file cannot be used."""
        while (turn := await self._take()) is not None:
            # The clock may have been set since.
            at = trio.current_time() + min(turn.at - self._clock(), BELIEVED)
            if turn.is_reserved:
                self._reserved = at
                return True
            await self._sleep_until(max(at, trio.current_time() + random.uniform(*BACK_OFF)))  # noqa: S311 - no secret
        return False

    async def _sleep_until(self, moment: float) -> None:
        if moment <= trio.current_time():
            return
        self.is_waiting = True
        try:
            await trio.sleep_until(moment)
        finally:
            self.is_waiting = False

    async def _take(self) -> Turn | None:
        """What the file says; None where it cannot be used at the moment. Not cancelled, so that no turn is lost."""
        if trio.current_time() < self._try_again_at or not self._thread.available_tokens:
            self._sent += 1
            return None
        sent, self._sent = self._sent, 0
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                turn = await trio.to_thread.run_sync(
                    self._take_from_file, sent, abandon_on_cancel=True, limiter=self._thread
                )
                self.trouble = ""
                return turn
        except (OSError, errors.ConfigurationError) as error:
            self._sent += sent + 1
            self._note_trouble(str(getattr(error, "strerror", None) or error))
        else:
            self._note_trouble(f"nothing came of it within {PATIENCE:.0f} s")
        return None

    def _note_trouble(self, why: str) -> None:
        self._try_again_at = trio.current_time() + TRY_AGAIN
        what = f"This drive counts its requests alone, not with other drives of yours in {self.path}"
        self.trouble = f"{what}: {why.rstrip('.')}."
        if self.trouble != self._told:
            self._told = self.trouble
            log.info("%s", self.trouble)

    def _take_from_file(self, sent: int) -> Turn:
        """Blocks. Raises OSError, ConfigurationError."""
        try:
            descriptor = open_file(self.path, os.O_RDWR)
        except FileNotFoundError:
            claim_folder(self.path.parent)
            descriptor = open_file(self.path, os.O_RDWR)
        try:
            self._lock(descriptor)
            turns = Turns(os.pread(descriptor, LENGTH + 1, 0))
            turn = turns.take(self._clock(), self._limit, sent)
            if os.pwrite(descriptor, turns.content(), 0) != LENGTH:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            if os.fstat(descriptor).st_size != LENGTH:
                os.ftruncate(descriptor, LENGTH)
        finally:
            os.close(descriptor)  # what a file server says to what was written may come here
        return turn

    def _lock(self, descriptor: int) -> None:
        """In steps, as no time can be given for a lock. Raises OSError; also where others hold it for long."""
        ends = time.monotonic() + LOCKED
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    raise OSError(errno.EAGAIN, "other drives keep it locked", str(self.path)) from error
                time.sleep(random.uniform(0.0005, 0.01))  # noqa: S311 - no secret
            else:
                return
