"""Memory is given back: what nobody has asked for lately goes, in the kernel and here.

By itself Linux forgets a name only when the machine is short of memory, and until then every inode is kept here, too.
From Linux 6.18 on it can be told to prune inodes (FUSE_NOTIFY_PRUNE in fs/fuse/dev.c): it forgets those that no program
uses. It takes no lock for that which a request under way could hold, so that a thread may wait for it (see
``alyxfs.kernel.invalidation``). An older kernel refuses, and forgets when it wants to: then only the numbers of inodes
are kept here, and what they stand for is found again when it asks (see ``alyxfs.kernel.inodes``).

What is idle goes after a while. Of very many inodes, as after a walk through millions of files, most go at once.
"""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import os
import pathlib
import struct
import time
import urllib.parse
from typing import TYPE_CHECKING

import trio

from alyxfs.net import release_unused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alyxfs.kernel.inodes import Inodes
    from alyxfs.tree import Drive

log = logging.getLogger(__name__)

ROUND = 10.0
"""Seconds between two looks for what is idle."""
IDLE = 30.0
"""Seconds after which what nobody has asked for goes. To ask again costs 65 µs, and no request of the server."""
QUIET = 0.5
"""Seconds of CPU in a round: with less, nobody minds that memory is looked through, which takes some 50 ms."""
BUSY = 1.0
"""Seconds of CPU after which that is worth it, also where nothing was forgotten: answers have come and gone."""
MOST_ROUNDS = 6
"""So long what was forgotten waits for a quiet one."""
IDLE_WITH_PAGES = 900.0
"""The same of data files that were read: with the inode goes what the page cache holds of it."""
MANY = 100_000
"""Inodes, at some 700 bytes each, beyond which those that were known first go ..."""
A_MOMENT = 2.0
"""... as soon as nobody has asked for them for so many seconds. Nobody walks more than that in this time."""
PRUNED_AT_ONCE = 250
"""Inodes: it takes the kernel some 3 ms to forget them."""

DROPPED_AT_ONCE = 1000
"""Inodes: in some milliseconds."""

_PRUNE = 9
"""FUSE_NOTIFY_PRUNE in linux/fuse.h."""
_HEADER = struct.Struct("=IiQ")
"""struct fuse_out_header: length, code, and 0 for what answers no request."""
_COUNT = struct.Struct("=IIQ")
"""struct fuse_notify_prune_out: number of inodes, which follow it, and two fields that are not used."""


class Pruner:
    """Lets go of inodes: the kernel forgets them, or, where it cannot be told so, their nodes are dropped here.

    Made once the drive is mounted.
    """

    def __init__(self, inodes: Inodes, is_open: Callable[[int], bool]) -> None:
        self.inodes = inodes
        self._is_open = is_open
        self._device = kernel_device()
        """None where the kernel cannot be told, as it has said itself."""

    async def let_go(self, numbers: Sequence[int]) -> None:
        """Of those that no program uses, which a kernel that can be told so forgets a moment later."""
        rest = iter(numbers)
        while self._device is not None and (some := list(itertools.islice(rest, PRUNED_AT_ONCE))):
            if not await trio.to_thread.run_sync(prune, self._device, some):
                self._device = None
        if self._device is None:
            await self.drop(numbers)

    async def drop(self, numbers: Sequence[int]) -> None:
        """Drop the nodes of inodes that the kernel keeps, as it may have pages of them, or a directory is in use."""
        rest = iter(numbers)
        while some := list(itertools.islice(rest, DROPPED_AT_ONCE)):
            self.inodes.drop(some, self._is_open)
            await trio.lowlevel.checkpoint()


async def give_back_for_ever(pruner: Pruner, drive: Drive) -> None:
    """Give back what is idle, round after round."""
    inodes, most, waited = pruner.inodes, 0, 0
    given_back = looked = time.process_time()
    while True:
        await trio.sleep(ROUND)
        most = max(most, inodes.with_node)
        await pruner.let_go(inodes.idle(IDLE, IDLE_WITH_PAGES))
        # What is there a round later the kernel keeps; single objects would hold on to pages all over the heap.
        await pruner.drop(inodes.idle(IDLE + ROUND, IDLE + ROUND))
        # The kernel forgets a moment after it was told: what it does not say by now is seen in the next round.
        if await drive.forget_idle() or 2 * inodes.with_node < most or waited:
            waited += 1
        before, looked = looked, time.process_time()
        is_worth_it = waited > 0 or looked - given_back > BUSY
        if waited > MOST_ROUNDS or (is_worth_it and looked - before < QUIET):
            most, waited = inodes.with_node, 0
            inodes.shrink()
            _forget_parts_of_addresses()
            gc.collect()  # also frees what Python keeps for new tuples, each of which holds a page of memory
            await trio.to_thread.run_sync(release_unused)
            given_back = time.process_time()


def _forget_parts_of_addresses() -> None:
    """Those of the last hundred addresses, which Python keeps: each lies on another page of the heap."""
    if (forget := getattr(urllib.parse.urlsplit, "cache_clear", None)) is not None:  # an undocumented part of it
        forget()


async def keep_few_for_ever(pruner: Pruner) -> None:
    """See to it that a walk through very many files does not add them all up."""
    while True:
        await trio.sleep(A_MOMENT / 2)
        if (excess := pruner.inodes.with_node - MANY) > 0:
            await pruner.let_go(pruner.inodes.idle(A_MOMENT, IDLE_WITH_PAGES, most=excess))


def prune(device: int, numbers: Sequence[int]) -> bool:
    """The same of a few. Blocks: call in a thread."""
    body = _COUNT.pack(len(numbers), 0, 0) + struct.pack(f"={len(numbers)}Q", *numbers)
    try:
        os.write(device, _HEADER.pack(_HEADER.size + len(body), _PRUNE, 0) + body)
    except OSError as error:
        if error.errno == errno.EINVAL:
            log.info("this kernel cannot be told to forget: it keeps names until memory is short (Linux 6.18 can)")
        else:
            log.info("the kernel was not told to forget: %s", error.strerror)
        return False
    return True


def kernel_device() -> int | None:
    """The descriptor by which this process serves its mount: libfuse, which opened it, does not tell."""
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == pathlib.Path("/dev/fuse"):
                return int(entry.name)
        except OSError:  # that of the list itself
            continue
    return None
