"""Tasks in the background of a block of code."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[trio.Nursery, None]:
    """A nursery whose tasks are cancelled when the block ends, and which raises the block's own error as it is.

    A plain nursery would wrap that error in a group, which no caller could catch by its kind.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
