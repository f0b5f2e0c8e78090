"""Numbers for nodes, and what the kernel remembers of them."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pyfuse3
from cachetools import LRUCache

if TYPE_CHECKING:
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

    Everything about one number comes and goes together, in methods that never await.
    """

    def __init__(self, root: Node) -> None:
        self._known = {int(pyfuse3.ROOT_INODE): _Known(root)}
        """By number, a directory before what is in it: the kernel asks for nothing in one that it does not know."""
        self.versions: dict[int, str] = {}
        """Which version of its content the kernel's page cache may hold, by inode number."""
        self.errors: LRUCache[str, str] = LRUCache(REMEMBERED_ERRORS)
        """The last error of a node by its identity, for its ``user.alyx.error``: its number may change with it."""

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def __len__(self) -> int:
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
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = _Known(node)
        known.node, known.parent = node, parent
        if node.number != number:
            node.keep_number(number)
        known.lookups += 1
        known.asked_at = time.monotonic()

    def forget(self, number: int, count: int) -> None:
        """Take look-ups back; the last one drops the node."""
        known = self._known[number]
        known.lookups -= count
        if known.lookups <= 0 and number != pyfuse3.ROOT_INODE:
            del self._known[number]
            self.versions.pop(number, None)

    def is_outdated(self, number: int) -> bool:
        """Whether the node has another content by now, and so another number."""
        known = self._known.get(number)
        return known is not None and known.content not in {0, hash(known.node.content)}

    def node(self, number: int) -> Node:
        """The node that the kernel means."""
        known = self._known[number]
        known.asked_at = time.monotonic()
        return known.node

    def shrink(self) -> None:
        """Give back the room of what was forgotten, which a dict keeps for what is to come."""
        self._known = dict(self._known)

    def idle(self, seconds: float, seconds_with_pages: float) -> list[int]:
        """The inodes that the kernel has not asked for lately; those in a directory come before it.

        ``seconds_with_pages`` counts for data files whose bytes the kernel's page cache may hold: those of a record
        come from memory, or the store, as soon as its name.
        """
        now = time.monotonic()
        earliest, earliest_with_pages = now - seconds, now - seconds_with_pages
        return [
            number
            for number, known in reversed(self._known.items())
            if known.asked_at < earliest
            and number != pyfuse3.ROOT_INODE
            and (not known.node.datasets or number not in self.versions or known.asked_at < earliest_with_pages)
        ]

    def parent(self, number: int) -> int:
        """The number of the directory that a directory stands in; the root stands in itself."""
        return self._known[number].parent

    def showing(self, dataset: str) -> list[int]:
        """The inodes that show bytes of a dataset."""
        return [number for number, known in self._known.items() if dataset in known.node.datasets]

    def numbers(self, beginnings: tuple[str, ...]) -> list[int]:
        """The inodes whose node's identity begins with one of these; an empty beginning means all."""
        return [number for number, known in self._known.items() if known.node.identity.startswith(beginnings)]
