"""Helpers of the tests that read data files without a kernel."""

from __future__ import annotations

import hashlib

import trio

from alyxfs.files import Source, open_file_cache
from alyxfs.net import open_network


def source(server, name="a.npy", **changes):
    content = server.files[name].content if name in server.files else b""
    fields = {
        "identity": name,
        "name": name,
        "url": server.url(name),
        "size": len(content),
        "digest": hashlib.md5(content).hexdigest(),
        "version": "1",
    }
    return Source(**(fields | changes))


class Opened:
    """A network and a cache; ``async with Opened(...) as cache``."""

    def __init__(self, directory, deadline=10.0, **options):
        self.directory, self.deadline, self.options = directory, deadline, options

    async def __aenter__(self):
        self._network = open_network(deadline=self.deadline)
        network = await self._network.__aenter__()
        self._cache = open_file_cache(network, self.directory, **self.options)
        return await self._cache.__aenter__()

    async def __aexit__(self, *failure):
        await self._cache.__aexit__(*failure)
        await self._network.__aexit__(*failure)


async def read_whole(cache, source, size=131072):
    file = await cache.open(source)
    parts, offset = [], 0
    while part := await file.read(offset, size):
        parts.append(part)
        offset += len(part)
    await file.close()
    return b"".join(parts)


async def until(condition, seconds=5):
    """Wait until the condition holds."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in threads and other processes
            await trio.sleep(0.01)
