"""Numbers for nodes, and what the kernel remembers of them."""

from __future__ import annotations

import hashlib
import itertools
import time
from typing import TYPE_CHECKING

import pyfuse3
from cachetools import LRUCache

from alyxfs.kernel.dropped_inodes import MOST_LOOKUPS, DroppedInode, DroppedInodes
from alyxfs.tree import Directory, entries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alyxfs.tree import Node

REMEMBERED_ERRORS = 1000
"""Nodes whose last error is kept."""


class _Known:
    """What is kept of an inode for as long as the kernel remembers it."""

    __slots__ = ("asked_at", "content", "lookups", "node", "parent")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.content = hash(node.content)
        """Which content the inode stands for, where its node says so, else 0: the text would take four times that."""
        self.lookups = 0
        """How often the kernel was given it, less what it has forgotten."""
        self.asked_at = 0.0
        """Monotonic seconds at which the kernel last asked for it."""
        self.parent = int(pyfuse3.ROOT_INODE)
        """The number of the directory that it was found in last."""


class Inodes:
    """Numbers for nodes: made from their identity and content, so the same at every mount while both are.

    Everything about one number comes and goes together, in methods that never await. Of an inode that the kernel keeps
    but nobody asks for, the node may be dropped: then only the directory is known that leads to it again, which takes a
    tenth of the memory (:meth:`drop`, :meth:`find_again`).
    """

    def __init__(self, root: Node) -> None:
        self._known = {int(pyfuse3.ROOT_INODE): _Known(root)}
        """By number, a directory before what is in it: the kernel asks for nothing in one that it does not know."""
        self._dropped = DroppedInodes()
        """Those whose node was dropped. None of them is in ``_known``, too."""
        self.versions: dict[int, str] = {}
        """Which version of its content the kernel's page cache may hold, by inode number."""
        self.errors: LRUCache[str, str] = LRUCache(REMEMBERED_ERRORS)
        """The last error of a node by its identity, for its ``user.alyx.error``: its number may change with it."""

    def __contains__(self, number: int) -> bool:
        return number in self._known or number in self._dropped

    def __len__(self) -> int:
        return len(self._known) + len(self._dropped)

    @property
    def with_node(self) -> int:
        """How many there are whose node was not dropped."""
        return len(self._known)

    def number(self, node: Node) -> int:
        """The inode number of a node; a collision of hashes moves the later node to another number."""
        content = node.content
        known = self._known.get(node.number)
        if known is not None and known.node is node and known.content == hash(content):
            return node.number
        attempt = node.identity
        if not attempt:
            return int(pyfuse3.ROOT_INODE)
        if content:
            attempt = f"{attempt}\0{content}"
        while True:
            digest = hashlib.blake2b(attempt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 1 | 0x100
            holder = self._known.get(number)
            if holder is None or (
                holder.content == hash(content) and (holder.node is node or holder.node.identity == node.identity)
            ):
                return number
            attempt += "\0"

    def remember(self, number: int, node: Node, parent: int) -> None:
        """Count one look-up by the kernel, in the directory of the number ``parent``; the newest node stands for it."""
        known = self._known_as(number, node)
        known.parent = parent
        known.lookups += 1

    def _known_as(self, number: int, node: Node) -> _Known:
        """What is kept of an inode for which this node stands from here on; with its look-ups, where it was dropped."""
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = _Known(node)
            if (dropped := self._dropped.take(number)) is not None:
                known.parent, known.lookups = dropped
        known.node = node
        if node.number != number:
            node.keep_number(number)
        known.asked_at = time.monotonic()
        return known

    def forget(self, number: int, count: int) -> None:
        """Take look-ups back; the last one drops the node."""
        known = self._known.get(number)
        if known is None:
            self._forget_dropped(number, count)
            return
        known.lookups -= count
        if known.lookups <= 0 and number != pyfuse3.ROOT_INODE:
            del self._known[number]
            self.versions.pop(number, None)

    def _forget_dropped(self, number: int, count: int) -> None:
        inode = self._dropped.take(number)
        if inode is None:
            raise KeyError(number)
        if inode.lookups > count:
            self._dropped.add(number, DroppedInode(inode.parent, inode.lookups - count))
        else:
            self.versions.pop(number, None)

    def is_outdated(self, number: int) -> bool:
        """Whether the node has another content by now, and so another number."""
        known = self._known.get(number)
        return known is not None and known.content not in {0, hash(known.node.content)}

    def node(self, number: int) -> Node:
        """The node that the kernel means; KeyError where it was dropped."""
        known = self._known[number]
        known.asked_at = time.monotonic()
        return known.node

    def is_dropped(self, number: int) -> bool:
        """Whether the node has to be found again first."""
        return number not in self._known and number in self._dropped

    def drop(self, numbers: Iterable[int], is_open: Callable[[int], bool]) -> None:
        """Drop those nodes that can be found again, but for those that are open: only their numbers are left.

        An operation that is under way has its node, and may find the inode dropped when it ends.
        """
        for number in numbers:
            known = self._known.get(number)
            if known is None or not known.node.is_found_again or is_open(number) or known.lookups > MOST_LOOKUPS:
                continue
            del self._known[number]
            self._dropped.add(number, DroppedInode(known.parent, known.lookups))

    async def find_again(self, number: int) -> None:
        """Give a dropped inode, and its neighbours, the nodes that their directory lists now; raises what listing does.

        It stays dropped where its directory lists none for it any more, or one with another content.
        """
        parent = self._dropped[number].parent
        if self.is_dropped(parent):
            await self.find_again(parent)
        directory = self._known[parent].node if parent in self._known else None
        if isinstance(directory, Directory):
            async for node in entries_of(directory):
                listed = self.number(node)
                if self.is_dropped(listed):
                    self._known_as(listed, node)

    def shrink(self) -> None:
        """Give back the room of what was forgotten, which a dict keeps for what is to come."""
        self._known = dict(self._known)

    def idle(self, seconds: float, seconds_with_pages: float, most: int | None = None) -> list[int]:
        """The inodes that the kernel has not asked for lately; those in a directory come before it.

        ``seconds_with_pages`` counts for data files whose bytes the kernel's page cache may hold: those of a record
        come from memory, or the store, as soon as its name. ``most``: so many, those that were known first.
        """
        now = time.monotonic()
        earliest, earliest_with_pages = now - seconds, now - seconds_with_pages
        idle = (
            number
            for number, known in self._known.items()
            if known.asked_at < earliest
            and number != pyfuse3.ROOT_INODE
            and (not known.node.datasets or number not in self.versions or known.asked_at < earliest_with_pages)
        )
        return list(itertools.islice(idle, most))[::-1]

    def parent(self, number: int) -> int:
        """The number of the directory that a directory stands in; the root stands in itself."""
        known = self._known.get(number)
        return self._dropped[number].parent if known is None else known.parent

    def showing(self, dataset: str) -> list[int]:
        """The inodes that show bytes of a dataset; what was dropped is compared when it is found again."""
        return [number for number, known in self._known.items() if dataset in known.node.datasets]

    def numbers(self, beginnings: tuple[str, ...]) -> list[int]:
        """The inodes whose node's identity begins with one of these; an empty beginning means all.

        With those that were dropped, where the directory that is known above them leaves it open.
        """
        found = [number for number, known in self._known.items() if known.node.identity.startswith(beginnings)]
        above: dict[int, bool] = {}
        for number, parent in self._dropped.with_parents():
            if self._may_begin_in(parent, beginnings, above):
                found.append(number)
        return found

    def _may_begin_in(self, directory: int, beginnings: tuple[str, ...], above: dict[int, bool]) -> bool:
        """``above``: the answers for directories that were looked at already."""
        if directory not in above:
            if directory in self._known:
                place = self._known[directory].node.identity
                above[directory] = place.startswith(beginnings) or any(one.startswith(place) for one in beginnings)
            elif directory in self._dropped:
                above[directory] = self._may_begin_in(self._dropped[directory].parent, beginnings, above)
            else:
                above[directory] = True
        return above[directory]
