"""What systemd is told of a drive that it runs: when it is ready, how it is, that it ends (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIABLE = "NOTIFY_SOCKET"
TOLD_EVERY = 5.0
"""Seconds between two looks at whether the status is another one."""


class ServiceManager:
    """The one that has started this process, if any: without one nothing is told."""

    def __init__(self) -> None:
        # Taken away, so that no program that is started from here speaks for the drive.
        self._address = os.environ.pop(_VARIABLE, "")

    def tell(self, **state: str) -> None:
        """Say something of ``READY``, ``STATUS`` and ``STOPPING``; that nobody hears it is no failure."""
        if not self._address:
            return
        # A name that begins with @ is an abstract one (unix(7)).
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            connection.sendto(text.encode("utf-8", "backslashreplace"), address)

    async def keep_told(self, status: Callable[[], str]) -> None:
        """Tell how the drive is whenever that is not what was told last, for ever."""
        told = ""
        while self._address:
            now = status()
            if now != told:
                self.tell(STATUS=now)
                told = now
            await trio.sleep(TOLD_EVERY)
