"""A short outage of the Alyx, which a program that has nothing else to show should not notice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import trio

from alyxfs import errors
from alyxfs.net import GATEWAY_STATUSES, WHILE_AWAY, next_pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alyxfs.net import Network

Result = TypeVar("Result")


async def once_it_is_back(
    network: Network, url: str, ask: Callable[[], Awaitable[Result]], failure: errors.AlyxfsError, began: float
) -> Result:
    """Ask again what failed so, once the server of ``url`` answers again.

    ``began`` is when it was asked first (trio time): from then on it is waited for as long as the deadline, and not at
    all where the server has been away for that long already. Raises the last failure.
    """
    ends, failures = began + network.deadline, 1
    while is_away(failure):
        left = ends - trio.current_time()
        pause = next_pause(WHILE_AWAY, failure, failures, left, None, random.random())  # noqa: S311 - no secret
        if pause is None or not await network.comes_back(url, ends):
            break
        await trio.sleep(pause)
        try:
            return await ask()
        except errors.AlyxfsError as error:
            failure = error
            failures += 1
    raise failure


def is_away(failure: errors.AlyxfsError) -> bool:
    """Whether the server did not see the request, or was stopped while it answered: it may be there again soon."""
    if isinstance(failure, errors.ServerFault):
        return failure.status in GATEWAY_STATUSES or (
            failure.status is None and not isinstance(failure, errors.Garbled)
        )
    return isinstance(failure, errors.Unreachable)
