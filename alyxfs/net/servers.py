"""All servers of one drive: who they are, which credentials they get, and whether they answer."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from alyxfs import errors
from alyxfs.net import failures
from alyxfs.net.addresses import is_below, server_of
from alyxfs.net.boundary import Boundary
from alyxfs.net.connections import make_transport
from alyxfs.net.file_proxy import KEPT, OF_CACHE, SLICE, FileProxy
from alyxfs.net.origin import KEPT_FREE, Origin
from alyxfs.net.proxies import proxies_of
from alyxfs.net.rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from alyxfs.net.addresses import Server
    from alyxfs.net.answers import StreamedAnswer
    from alyxfs.net.boundary import IpNetwork
    from alyxfs.net.link import Link
    from alyxfs.net.signing import Signature
    from alyxfs.tasks import Tasks


class Servers:
    """See the module.

    State: ``_origins`` changes only in :meth:`origin`, ``_signatures`` in :meth:`sign`, which never await.
    """

    def __init__(
        self,
        tasks: Tasks,
        *,
        deadline: float,
        file_connections: int = 16,
        allowed_networks: Sequence[IpNetwork] = (),
        file_proxy: str = "",
    ) -> None:
        self.tasks = tasks
        self._origins: dict[Server, Origin] = {}
        self._signatures: dict[str, Signature] = {}
        self._file_limit = RateLimit(connections=file_connections)
        self.boundary = Boundary(allowed_networks)
        self._proxies = proxies_of(os.environ)
        self.file_proxy: FileProxy | None = None
        """Who is asked for data files in place of their servers."""
        if file_proxy:
            self.file_proxy = FileProxy(file_proxy, file_connections, self.boundary, self._proxies)
        self.deadline = deadline
        """Seconds that a request may take in all, retries included, unless the caller says otherwise."""
        self.connections_ahead = max(1, file_connections - KEPT_FREE)
        """Requests at a time to a file server for answers that nobody waits for yet."""

    # Servers

    def alyx_at(self, url: str) -> None:
        """The Alyx is here: it may be at any address, and the servers that it names at addresses of the same kind."""
        self.boundary.name_alyx(server_of(url))

    def allow(self, url: str) -> None:
        """The user, and no database, named this server: it may be at any address."""
        self.boundary.name(server_of(url))

    def origin(self, url: str, limit: RateLimit | None = None) -> Origin:
        """The server of this address; the first call decides how politely it is treated. Raises BadAddress."""
        server = server_of(url)
        if server not in self._origins:
            proxy = self._proxies.of(server)
            transport = make_transport(server, (limit or self._file_limit).connections, self.boundary, proxy)
            origin = Origin(server, transport, limit or self._file_limit, is_proxied=proxy is not None)
            self._origins[server] = origin
            if self.file_proxy is not None:
                origin.file_transport = self.file_proxy.transport()
                origin.probed_by = origin.file_transport if limit is None else transport
        return self._origins[server]

    def carrier(self, origin: Origin, url: str, *, of_file: bool) -> tuple[httpx.AsyncBaseTransport, str]:
        """What carries a request, and the address of whom it is connected to.

        What is signed goes to the server itself: each signature is another one, so that no proxy could share it.
        """
        if self.file_proxy is None or not of_file or self._is_signed(url):
            return origin.transport, origin.base
        return origin.file_transport, self.file_proxy.base

    @property
    def slice_length(self) -> int:
        """Bytes at whose multiples requests for data files are to begin and end."""
        return 1 if self.file_proxy is None else SLICE

    def has_to_be_fetched(self, answer: StreamedAnswer) -> bool:
        """Whether the proxy did not have what it answers with, and asks the server slice after slice."""
        return self.file_proxy is not None and answer.headers.get(OF_CACHE, KEPT) != KEPT

    def trust_with_files(self, url: str, authorization: str) -> None:
        """Send this ``Authorization`` with requests for data files to the server of ``url``, and to no other.

        Where ``url`` has a path, only for what is below it: others may have pages on the same server.
        """
        self.allow(url)
        origin = self.origin(url)
        origin.file_authorization, origin.file_folder = authorization, urlsplit(url).path.rstrip("/")

    def sign(self, beginning: str, signature: Signature) -> None:
        """Add the headers that this function makes to requests of addresses that begin so, and to no others.

        ``beginning`` ends with the slash behind a host or a folder, so that no other host can begin with it.
        """
        assert beginning.endswith("/"), beginning
        self._signatures[beginning] = signature

    def turn(self, url: str) -> trio.CapacityLimiter:
        """To be taken for a request whose answer nobody waits for yet: it leaves connections to those who wait."""
        return self.origin(url).turns

    def link(self, url: str) -> Link:
        """How fast the server of this address is."""
        return self.origin(url).link

    def opened(self, url: str) -> None:
        """A program has opened a file of this address: others of the same server may be fetched before they are."""
        with contextlib.suppress(errors.BadAddress):
            self.origin(url).is_opened = True

    def is_opened(self, url: str) -> bool:
        """Whether a program has opened a file of this server."""
        try:
            return self.origin(url).is_opened
        except errors.BadAddress:
            return False

    # Whether they answer

    def is_down(self, url: str) -> bool:
        """Whether the server of this address does not answer at the moment: requests of the API fail at once."""
        return self.origin(url).down_since is not None

    def is_gone(self, url: str) -> bool:
        """Whether nobody should wait for it any more: it has not answered for a whole deadline.

        Nor has any server ever, where the drive was mounted without a network.
        """
        origin = self.origin(url)
        if origin.down_since is None:
            return False
        is_offline = not any(one.answered_at for one in self._origins.values())
        return is_offline or trio.current_time() - origin.silent_since >= self.deadline

    async def close(self) -> None:
        """Close all connections."""
        for origin in self._origins.values():
            await origin.transport.aclose()
        if self.file_proxy is not None:
            await self.file_proxy.aclose()

    async def comes_back(self, url: str, ends: float) -> bool:
        """Wait until the server of this address answers again: False at ``ends`` (trio time), or where it is gone."""
        origin = self.origin(url)
        while origin.down_since is not None and trio.current_time() < ends and not self.is_gone(url):
            with trio.move_on_at(min(ends, origin.silent_since + self.deadline)):
                await origin.wait_until_back()
        return origin.down_since is None

    def has_answered_since(self, url: str, since: float) -> bool:
        """Whether the server of this address has answered anything since that moment (trio time)."""
        return self.origin(url).answered_at > since

    def gave_up(self, url: str, since: float) -> None:
        """Note that nothing answered at this address since that moment (trio time), whatever was tried."""
        self.origin(url).has_failed(self.tasks, since, tried_again=True)

    def pause_under_way(self, url: str) -> errors.Throttled | None:
        """What to tell who waits because the server asked for a pause; None where it did not."""
        origin = self.origin(url)
        left = origin.paused_until - trio.current_time()
        return failures.throttled(origin.base, left, url) if left > 0 else None

    def waiting_for_limit(self, url: str) -> int:
        """Requests that wait because the server of this address is asked no more in a minute than it may be."""
        rate = self.origin(url).rate
        return 0 if rate is None else rate.waiting

    def trouble_of_limit(self, url: str) -> str:
        """Why other drives do not count for the limit of this server, as a sentence; empty where they do."""
        rate = self.origin(url).rate
        return "" if rate is None else rate.trouble

    def headers_for(
        self, origin: Origin, given: Mapping[str, str], method: str, url: str, of_file: bool
    ) -> dict[str, str]:
        """What goes with the request: what was given, and what this server alone may know."""
        headers = dict(given)
        if of_file and origin.file_authorization is not None and is_below(origin.file_folder, url):
            headers["Authorization"] = origin.file_authorization
        for beginning, signature in self._signatures.items():
            if url.startswith(beginning):
                headers |= signature(method, url)
        return headers

    def _is_signed(self, url: str) -> bool:
        return any(url.startswith(beginning) for beginning in self._signatures)
