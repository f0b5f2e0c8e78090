"""Waiting for the kernel's next request: looking a moment longer before going to sleep.

A program that walks through directories asks its next question some microseconds after the answer to its last one. To
sleep in between costs more than to answer: two switches of the processor and a turn of trio's loop. A file system that
does nothing answered ``find`` in 73 µs a request with sleeping, in 26 µs with looking (Linux 6.18, two cores).
"""

from __future__ import annotations

import functools
import select
import time
from types import SimpleNamespace
from typing import Any, cast

import pyfuse3
import trio

LOOK = 50e-6
"""Seconds to look for the next request before sleeping: the most that one request holds up everything else."""
QUICK = 200e-6
"""Seconds: where a request came sooner than this, the next one is worth looking for."""


class RequestWait:
    """Waits until the kernel's device has a request; pyfuse3 lets one task at a time in here."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._device = select.poll()
        self._device.register(descriptor, select.POLLIN)
        self._is_quick = False

    async def __call__(self) -> None:
        """Return once there is a request. pyfuse3 has given the other tasks their turn before."""
        began = time.perf_counter()
        if self._is_quick:
            while time.perf_counter() - began < LOOK:
                if self._device.poll(0):
                    return
        await trio.lowlevel.wait_readable(self._descriptor)
        self._is_quick = time.perf_counter() - began < QUICK


def look_before_sleeping() -> None:
    """Make pyfuse3 wait by RequestWait, through the name by which ``pyfuse3.asyncio`` replaces trio, too."""
    wait_for = functools.cache(RequestWait)

    async def wait_readable(descriptor: int) -> None:
        await wait_for(descriptor)()

    lowlevel = SimpleNamespace(**{**vars(trio.lowlevel), "wait_readable": wait_readable})
    cast("Any", pyfuse3).trio = SimpleNamespace(**{**vars(trio), "lowlevel": lowlevel})
