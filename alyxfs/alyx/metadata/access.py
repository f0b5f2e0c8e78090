"""Whether the server lets this user in, and lets them write: asked at mount, unless it was asked a moment ago."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import trio

from alyxfs import errors, json_text
from alyxfs.alyx.metadata.freshness import DOWN

if TYPE_CHECKING:
    from alyxfs.alyx.credentials import Account
    from alyxfs.alyx.metadata.cache import MetadataCache
    from alyxfs.alyx.rest import Api
    from alyxfs.store import Store

log = logging.getLogger(__name__)

TRIED_AT_MOUNT = 3
"""Lists: one that the server always fails on does not mean that it fails on all."""

_LET_IN = "account that was let in"
_WRITER = "account that may write"


class Access:
    """One account at one server.

    What the server said is believed for the time to live by the next mounts, of the same token alone: a password is
    always tried, and nothing is kept from which it could be guessed.
    """

    def __init__(self, api: Api, store: Store, metadata: MetadataCache, account: Account) -> None:
        self._api = api
        self._store = store
        self._metadata = metadata
        self.account = account

    async def check(self) -> None:
        """One small request, so that a wrong token shows at mount; passes when offline.

        Raises AccessDenied, and ServerFault where the server fails on all it is asked and was never mounted before.
        """
        if await self._was_found(_LET_IN):
            return
        fault: errors.ServerFault | None = None
        for endpoint in (await self._listed())[:TRIED_AT_MOUNT]:
            if self._metadata.is_down:
                return
            try:
                await self._api.page(endpoint, (), 1, 0)
            except DOWN as error:
                self._metadata.note_failure(error)
                if not isinstance(error, errors.ServerFault):
                    return
                fault = error
            else:
                await self._keep(_LET_IN)
                return
        if fault is not None and not self._metadata.was_known:
            raise fault

    async def may_only_read(self) -> bool:
        """Whether the server will refuse all that is saved; False where it cannot be asked now."""
        listed = await self._listed()
        if not listed or await self._was_found(_WRITER):
            return False
        try:
            only_reads = await self._api.may_only_read(listed[0])
        except errors.AlyxfsError as error:
            log.info("whether the user may write is not known: %s", error)
            return False
        if not only_reads:
            await self._keep(_WRITER)
        return only_reads

    async def _listed(self) -> list[str]:
        return [endpoint.name for endpoint in (await self._metadata.schema()).endpoints.values() if endpoint.listed]

    async def _was_found(self, what: str) -> bool:
        stored = await trio.to_thread.run_sync(self._store.document, what)
        if stored is None or self.account.token is None or not self._metadata.is_young(stored.fetched_at):
            return False
        return stored.body == self._body(self.account.token)

    async def _keep(self, what: str) -> None:
        if (token := self._api.held_token) is not None:  # of a log-in, the next mount may know it
            await trio.to_thread.run_sync(self._store.put_document, what, self._body(token))

    def _body(self, token: str) -> bytes:
        """The account without its token, which cannot be had back from this: a token is as long as a key."""
        digest = hashlib.blake2b(token.encode(), digest_size=16).hexdigest()
        return json_text.compact({"user": self.account.user, "token": digest})
