"""A body that is too large for memory, taken piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from alyxfs import errors
from alyxfs.net import LARGEST_REFUSAL, Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alyxfs.net import Network

Write = Callable[[bytes], object]
"""Takes a piece; called in a thread."""


async def downloaded(
    network: Network, url: str, headers: Mapping[str, str], write: Write, largest: int, deadline: float
) -> Answer | None:
    """One try of a GET within ``deadline`` (seconds); the answer where it is a refusal.

    Raises AnswerTooLarge as soon as it is clear that there are more than ``largest`` bytes, and what the network does.
    """
    async with network.stream(url, headers={"Accept": "*/*", **headers}, deadline=deadline) as answer:
        length, beginning = 0, b""
        if int(answer.headers.get("content-length", "").strip()[:18] or 0) > largest:
            raise errors.AnswerTooLarge(f"{url} announces more than {largest} bytes.", url=url)
        async for part in answer.chunks:
            length += len(part)
            if answer.status != 200:  # noqa: PLR2004
                beginning += part
                if length > LARGEST_REFUSAL:
                    break
                continue
            if length > largest:
                raise errors.AnswerTooLarge(f"{url} sends more than {largest} bytes.", url=url)
            await trio.to_thread.run_sync(write, part)
        return None if answer.status == 200 else Answer(answer.status, answer.headers, beginning, url)  # noqa: PLR2004
