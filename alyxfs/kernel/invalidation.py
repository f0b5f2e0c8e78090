"""Making the kernel ask again for what it keeps of a node, without ever waiting for the kernel.

Of the notifications only the one that drops attributes is used here (and in ``idle`` one that takes no lock). To drop
a name the kernel takes the directory's lock, to drop a page the page's, and a request that waits for this process may
hold either: the thread that notifies then waits for its own process, and where that is killed meanwhile the thread
cannot die, /dev/fuse stays open, and every program on the drive hangs (fuse_reverse_inval_entry and
fuse_reverse_inval_inode in fs/fuse of Linux). Attributes are dropped without a lock that a request could hold.

Pages go all the same: the kernel drops them by itself at the open of another version. A data file whose content has
become another one is another inode (see inodes), so that its pages are nobody's any more. Names that can be taken away
are kept for a moment only.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pyfuse3
import trio

from alyxfs.defects import note_defect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from alyxfs.kernel.inodes import Inodes
    from alyxfs.tree import Node

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for the notifier to come to an end: each notification takes some microseconds."""


def forget_attributes(number: int) -> None:
    """Make the kernel ask again for the size and times of an inode. Waits for nobody: see the module."""
    try:
        pyfuse3.invalidate_inode(cast("Any", number), attr_only=True)
    except OSError as error:
        if error.errno != errno.ENOENT:  # the kernel has forgotten the inode meanwhile
            log.info("the kernel was not told of a change: %s", error.strerror)


class Invalidation:
    """Takes note of changes, and tells the kernel in a thread of its own: there may be very many at once.

    State: ``_waiting`` holds the inodes that the thread has still to come to; an inode that waits is not added again,
    and one that the kernel has forgotten is passed over. Nobody waits for the thread but :meth:`settled`.
    """

    def __init__(self) -> None:
        self._inodes: Inodes | None = None
        self._is_listening = False
        """Whether the kernel is there to be told."""
        self._waiting: set[int] = set()
        self._telling: int | None = None
        """The one that it is telling the kernel of."""
        self._queue: queue.SimpleQueue[int | Callable[[], None] | None] = queue.SimpleQueue()

    def attach(self, inodes: Inodes) -> None:
        """From now on these are what the kernel knows."""
        self._inodes = inodes

    def nodes(self, beginnings: Collection[str]) -> None:
        """Nodes have changed whose identity begins with one of these."""
        if self._inodes is not None and beginnings:
            self._forget(self._inodes.numbers(tuple(beginnings)))

    def record(self, endpoint: str, key: str | None) -> None:
        """A record, or an endpoint as a whole, was changed by others."""
        self.nodes([f"endpoint/{endpoint}" if key is None else f"record/{endpoint}/{key}"])

    def file(self, dataset: str) -> None:
        """A data file was found to be other than the database, or an earlier answer, said.

        Who has it open gets an error from then on: without attributes the kernel asks for them before it reads from its
        pages, and hears that the inode is outdated (fuse_cache_read_iter in fs/fuse/file.c of Linux). These few inodes
        the kernel is told of at once: whoever hears of the change by an error finds it everywhere.
        """
        if self._inodes is None or not self._is_listening:
            return
        for number in self._inodes.showing(dataset):
            self._inodes.versions.pop(number, None)
            forget_attributes(number)

    def has_told(self, number: int, node: Node) -> bool:
        """Whether the size that the kernel may remember of a file, which nobody has opened yet, is right.

        That of a data file is: what is found to be another one, it is told of at that moment (see :meth:`file`), and an
        estimate it does not keep.
        """
        is_about_to = number in self._waiting or number == self._telling  # the thread changes these in the other order
        return bool(node.datasets and node.content) and not is_about_to

    async def settled(self) -> None:
        """Return when the kernel has been told of all that came before."""
        token, told = trio.lowlevel.current_trio_token(), trio.Event()
        self._queue.put(lambda: token.run_sync_soon(told.set))
        with trio.move_on_after(PATIENCE):
            await told.wait()

    @contextmanager
    def notifying(self) -> Iterator[None]:
        """Tell the kernel for as long as the block lasts; it must not outlast the mount."""
        thread = threading.Thread(target=self._tell_kernel, name="notifier", daemon=True)
        thread.start()
        self._is_listening = True
        try:
            yield
        finally:
            self._is_listening = False
            self._queue.put(None)
            thread.join(PATIENCE)

    def _forget(self, numbers: Collection[int]) -> None:
        assert self._inodes is not None
        for number in numbers:
            self._inodes.versions.pop(number, None)  # so that the next open drops the pages
            if number not in self._waiting:
                self._waiting.add(number)
                self._queue.put(number)

    def _tell_kernel(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if callable(item):
                    item()
                    continue
                self._telling = item
                self._waiting.discard(item)  # what changes from here on is told anew
                if self._inodes is not None and item in self._inodes:
                    forget_attributes(item)
                self._telling = None
            except trio.RunFinishedError:
                return
            except Exception as error:  # noqa: BLE001 - the thread serves all changes to come
                note_defect(error, "a notification of the kernel")
