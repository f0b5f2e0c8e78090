"""Bodies that are too large for memory: given on piece by piece, and no more of them than may come."""

from __future__ import annotations

import pytest

from alyxfs import errors
from alyxfs.alyx.downloads import downloaded
from alyxfs.net import open_network
from fault_server import FaultServer, File

CONTENT = bytes(range(256)) * 1000


@pytest.mark.trio
@pytest.mark.parametrize(("is_told", "words"), [(True, "announces more than"), (False, "sends more than")])
async def test_a_body_that_is_longer_than_it_may_be_is_left(is_told, words):
    taken = []
    with FaultServer({"tables.zip": File(CONTENT, length=is_told)}) as server:
        async with open_network() as network:
            network.alyx_at("http://127.0.0.1")
            url = server.url("tables.zip")
            assert await downloaded(network, url, {}, taken.append, len(CONTENT), 10) is None
            assert b"".join(taken) == CONTENT
            taken.clear()
            with pytest.raises(errors.AnswerTooLarge) as refusal:
                await downloaded(network, url, {}, taken.append, len(CONTENT) - 1, 10)
    assert str(refusal.value) == f"{url} {words} {len(CONTENT) - 1} bytes."
    assert len(b"".join(taken)) < len(CONTENT)
    assert bool(taken) is not is_told, "where the length is told, nothing of it is taken"
