"""Numbers for nodes, and what the kernel remembers of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyfuse3

if TYPE_CHECKING:
    from alyxfs.tree import Node


class Inodes:
    """Numbers for nodes: made from their identity, so the same at every mount.

    Everything about one number comes and goes together, in methods that never await.
    """

    def __init__(self, root: Node) -> None:
        self._nodes: dict[int, Node] = {pyfuse3.ROOT_INODE: root}
        self._lookups: dict[int, int] = {pyfuse3.ROOT_INODE: 1}
        self.versions: dict[int, str] = {}
        """Which version of its content the kernel's page cache may hold, by inode number."""
        self.errors: dict[int, str] = {}
        """The last error of a node, for its ``user.alyx.error``."""

    def __contains__(self, number: int) -> bool:
        return number in self._nodes

    def number(self, node: Node) -> int:
        """The inode number of a node; a collision of hashes moves the later node to another number."""
        attempt = node.identity
        if not attempt:
            return int(pyfuse3.ROOT_INODE)
        while True:
            digest = hashlib.blake2b(attempt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 1 | 0x100
            holder = self._nodes.get(number)
            if holder is None or holder is node or holder.identity == node.identity:
                return number
            attempt += "\0"

    def remember(self, number: int, node: Node) -> None:
        """Count one look-up by the kernel; the newest node stands for the inode."""
        self._nodes[number] = node
        self._lookups[number] = self._lookups.get(number, 0) + 1

    def forget(self, number: int, count: int) -> None:
        """Take look-ups back; the last one drops the node."""
        left = self._lookups[number] - count
        if left > 0 or number == pyfuse3.ROOT_INODE:
            self._lookups[number] = left
            return
        del self._lookups[number], self._nodes[number]
        self.versions.pop(number, None)
        self.errors.pop(number, None)

    def node(self, number: int) -> Node:
        """The node that the kernel means."""
        return self._nodes[number]

    def numbers(self, beginnings: tuple[str, ...]) -> list[int]:
        """The inodes whose node's identity begins with one of these; an empty beginning means all."""
        return [number for number, node in self._nodes.items() if node.identity.startswith(beginnings)]
