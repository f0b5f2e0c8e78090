"""Data files that `alyxfs fetch` copies out of the drive's cache: where each is, and how much of it can be read yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alyxfs import errors
from alyxfs.counters import counted
from alyxfs.files.delivery import delivery_of
from alyxfs.tree.files_at import data_files

if TYPE_CHECKING:
    from alyxfs.control.socket import Conversation
    from alyxfs.tree import Drive


async def deliver(drive: Drive, path: str, conversation: Conversation) -> bool:
    """Bring the data file there; false where it, or the rest of it, must be read through the mount.

    Told are first ``file`` and ``inode`` of the cache, then ``reached`` (bytes from the beginning on) as often as that
    grows. Once all are there the program may say the ``md5`` that it found; the file is kept until it is done.
    Raises Invalid, NotFound and what a read raises.
    """
    nodes = await data_files(drive, [path])
    if [node.identity for node in nodes] != [path]:
        raise errors.Invalid(f"{path} is no data file that the server has.")
    async with delivery_of(drive.files, await nodes[0].source_with_address()) as delivery:
        if delivery is None:
            return False
        await conversation.tell({"file": str(delivery.path), "inode": delivery.inode})
        while not delivery.is_whole:
            before = delivery.reached
            if not await delivery.advance():
                return False
            counted.served += delivery.reached - before
            await conversation.tell({"reached": delivery.reached})
        answer: Any = await conversation.hear()
        if isinstance(answer, dict) and isinstance(answer.get("md5"), str):
            await delivery.take_hash(answer["md5"])
    return True
