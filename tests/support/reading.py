"""Helpers of the tests that read data files without a kernel."""

from __future__ import annotations

import hashlib
import inspect
from contextlib import asynccontextmanager

import trio

from alyxfs.files.cache import open_file_cache
from alyxfs.files.disk import block_file
from alyxfs.files.extents import BLOCK, block_count
from alyxfs.files.source import Source
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


@asynccontextmanager
async def opened(directory, deadline=10.0, file_proxy="", **options):
    """A cache in this directory, with a network of its own."""
    async with open_network(deadline=deadline, file_proxy=file_proxy) as network:
        network.alyx_at("http://127.0.0.1")
        async with open_file_cache(network, directory, **options) as cache:
            yield cache


async def read_whole(cache, source, size=131072):
    file = await cache.open(source)
    parts, offset = [], 0
    while part := await file.read(offset, size):
        parts.append(part)
        offset += len(part)
    await file.close()
    return b"".join(parts)


async def share(cache, source):
    """How much of a file is in the cache, 0 to 1."""
    return (await cache.state(source)).share


async def is_here(cache, source):
    """Whether all of a file is in the cache."""
    return await share(cache, source) == 1


async def remark(cache, source):
    """What is said of a file's content."""
    return (await cache.state(source)).remark


async def until(condition, seconds=5):
    """Wait until the condition holds, which may have to be awaited."""
    with trio.fail_after(seconds):
        while not (await found if inspect.isawaitable(found := condition()) else found):  # noqa: ASYNC110 - what is waited for happens in threads and other processes
            await trio.sleep(0.01)


def cache_files(directory):
    return [path for path in (directory / "blocks-1").rglob("*") if path.is_file()]


def assert_marked_blocks_are_right(directory, content):
    """Every block that the maps in this cache directory mark holds the server's bytes; return how many there are."""
    marked = 0
    for path in cache_files(directory):
        if path.name.startswith("new-"):
            continue
        blocks = block_file.open_existing(path, "1")
        assert blocks is not None
        present = blocks.recorded(0, block_count(len(content)))
        for block, mark in enumerate(present):
            if mark:
                marked += 1
                expected = content[block * BLOCK : (block + 1) * BLOCK]
                assert blocks.read(block * BLOCK, len(expected)) == expected, f"block {block} is wrong"
        blocks.close()
    return marked
