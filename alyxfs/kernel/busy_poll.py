"""Waiting for the kernel's next request: looking a moment longer before going to sleep.

A program that walks through directories asks its next question some microseconds after the answer to its last one. To
sleep in between costs more than to answer: two switches of the processor and a turn of trio's loop. A file system that
does nothing answered ``find`` in 73 µs a request with sleeping, in 26 µs with looking; on a drive of 63,000 files a
turn of the loop for each request made it slower by a sixth (Linux 6.18, two cores).
"""

from __future__ import annotations

import functools
import logging
import select
import time
from types import SimpleNamespace
from typing import Any, cast

import pyfuse3
import trio

log = logging.getLogger(__name__)

KNOWN = ("3.4.", "3.5.")
"""Versions of pyfuse3 whose ``_wait_fuse_readable`` takes trio.Lock and awaits trio.lowlevel.wait_readable."""
LOOK = 50e-6
"""Seconds to look for the next request before sleeping: the most that one request holds up everything else."""
QUICK = 200e-6
"""Seconds: where a request came sooner than this, the next one is worth looking for."""
TURN = 1e-3
"""Seconds for which requests that come at once are answered before the other tasks have their turn."""


class RequestWait:
    """Waits until the kernel's device has a request; pyfuse3 lets one task at a time in here."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._device = select.poll()
        self._device.register(descriptor, select.POLLIN)
        self._is_quick = False
        self._last_turn = 0.0
        """Of the other tasks."""

    async def __call__(self) -> None:
        """Return once there is a request."""
        began = time.perf_counter()
        if self._is_quick:
            now = began
            while now - began < LOOK:
                if self._device.poll(0):
                    if now - self._last_turn > TURN:
                        await trio.lowlevel.checkpoint()
                        self._last_turn = time.perf_counter()
                    return
                now = time.perf_counter()
        await trio.lowlevel.wait_readable(self._descriptor)
        self._last_turn = time.perf_counter()
        self._is_quick = self._last_turn - began < QUICK


class RequestLock:
    """Lets one task at a time wait for a request.

    Unlike trio's it gives no other task a turn where it is free, and the task that has answered may have it again:
    RequestWait sees to the turns.
    """

    def __init__(self) -> None:
        self._is_held = False
        self._others = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._is_held:
            await self._others.park()
        self._is_held = True

    async def __aexit__(self, *failure: object) -> None:
        self._is_held = False
        self._others.unpark()


def can_look() -> bool:
    """Whether this pyfuse3 waits in the way that is known; what another one does, nobody has looked at."""
    return pyfuse3.__version__.startswith(KNOWN) and getattr(pyfuse3, "trio", None) is trio


def look_before_sleeping() -> None:
    """Make pyfuse3 wait by these, through the name by which ``pyfuse3.asyncio`` replaces trio, too.

    A pyfuse3 that is not known is left as it is.
    """
    if not can_look():
        log.info("pyfuse3 %s is not known, so that it sleeps between any two requests", pyfuse3.__version__)
        return
    wait_for = functools.cache(RequestWait)

    async def wait_readable(descriptor: int) -> None:
        await wait_for(descriptor)()

    lowlevel = SimpleNamespace(**{**vars(trio.lowlevel), "wait_readable": wait_readable})
    cast("Any", pyfuse3).trio = SimpleNamespace(**{**vars(trio), "lowlevel": lowlevel, "Lock": RequestLock})
