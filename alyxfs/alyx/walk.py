"""What a walk of a list is to those who read its rows."""

from __future__ import annotations

from typing import Any, Protocol


class Walk(Protocol):
    """A list, page by page: see ``alyxfs.alyx.pagination.PageWalk``."""

    ended: bool

    @property
    def count(self) -> int | None:
        """Rows in the list by the server's last word."""

    @property
    def remarks(self) -> list[str]:
        """Sentences on what could not be had."""

    async def more(self) -> list[dict[str, Any]]:
        """The new rows of one more page."""
