"""The walk of a list with what is proposed: without the rows that are to go, and with those that are to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.alyx.walk import Walk


class ProposedWalk:
    """Around a walk of the server's list.

    ``shown`` gives of a row what is to be shown, None for nothing, and the identity of the record if anything is
    proposed of it; ``besides`` the rows that come at the end, but for the records of these identities.
    """

    def __init__(
        self,
        walk: Walk,
        shown: Callable[[dict[str, Any]], tuple[dict[str, Any] | None, str | None]],
        besides: Callable[[set[str]], list[dict[str, Any]]],
    ) -> None:
        self.ended = False
        self._walk = walk
        self._shown = shown
        self._besides = besides
        self._seen: set[str] = set()
        self._change = 0

    @property
    def count(self) -> int | None:
        """See PageWalk; rows that are still to be met are counted as the server does."""
        return None if self._walk.count is None else self._walk.count + self._change

    @property
    def remarks(self) -> list[str]:
        """See PageWalk."""
        return self._walk.remarks

    async def more(self) -> list[dict[str, Any]]:
        """See PageWalk."""
        found = []
        for row in await self._walk.more():
            shown, identity = self._shown(row)
            self._seen.update([identity] if identity else [])
            if shown is None:
                self._change -= 1
            else:
                found.append(shown)
        if self._walk.ended:
            besides = self._besides(self._seen)
            self._change += len(besides)
            found += besides
            self.ended = True
        return found
