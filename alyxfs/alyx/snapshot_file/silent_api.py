"""In place of the API where a snapshot is shown: what it does not hold is told so, and asked of nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from alyxfs import errors
from alyxfs.alyx.credentials import Account
from alyxfs.alyx.rest import Api

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.net import Answer, Network


class SilentApi(Api):
    """Sends no request. ``is_named``: the user said that the Alyx is there, and not the snapshot alone."""

    def __init__(self, network: Network, base_url: str, what: str, *, is_named: bool) -> None:
        super().__init__(network, base_url, Account())
        if not is_named:
            network.boundary.forget_alyx()
        self._what = what

    async def download(self, path: str, write: Callable[[bytes], object], largest: int, deadline: float) -> None:  # noqa: ARG002 - of none
        """Raises NotInSnapshot."""
        self._refuse(path)

    async def may_only_read(self, endpoint: str) -> bool:  # noqa: ARG002 - everywhere
        """It is so."""
        return True

    async def _exchange(self, method: str, url: str, **_: Any) -> Answer:  # noqa: ARG002 - of none
        self._refuse(url.removeprefix(self.base_url))

    def _refuse(self, path: str) -> NoReturn:
        raise errors.NotInSnapshot(
            f"{unquote(path, errors='replace').lstrip('/')} is not in {self._what}, and nobody is asked for it: mount "
            "without --snapshot to see it, or make a snapshot after it was looked at.",
            url=self.base_url + path,
        )
