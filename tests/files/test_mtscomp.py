"""Compressed recordings read as if they were not, compared with mtscomp's own answer."""

from __future__ import annotations

import json
import random

import pytest
import trio

from alyxfs import errors
from alyxfs.files import mtscomp as inflate
from fault_server import FaultServer, File
from reading import is_here, opened, source, until

np = pytest.importorskip("numpy")
mtscomp = pytest.importorskip("mtscomp")

RATE, CHANNELS = 3000, 16


def recording(directory, *, seconds=20.4, dtype="int16", **options):
    """Compress a made-up recording; give the raw bytes, the .cbin and the .ch."""
    noise = np.random.default_rng(1).normal(0, 40, (int(RATE * seconds), CHANNELS))
    raw = np.cumsum(noise, axis=0).astype(dtype)
    raw.tofile(directory / "x.bin")
    mtscomp.compress(
        directory / "x.bin",
        directory / "x.cbin",
        directory / "x.ch",
        sample_rate=RATE,
        n_channels=CHANNELS,
        dtype=np.dtype(dtype),
        n_threads=1,
        quiet=True,
        check_after_compress=False,
        **options,
    )
    with_mtscomp = mtscomp.Reader()
    with_mtscomp.open(directory / "x.cbin", directory / "x.ch")
    answer = np.ascontiguousarray(with_mtscomp[:]).tobytes()
    with_mtscomp.close()
    return answer, (directory / "x.cbin").read_bytes(), (directory / "x.ch").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("recording"))


@pytest.fixture
def server(made):
    with FaultServer({"x.cbin": File(made[1]), "x.ch": File(made[2])}) as server:
        yield server


def open_inflated(cache, server):
    return cache.open_inflated(source(server, "x.cbin"), source(server, "x.ch"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_order": "C"},
        {"do_time_diff": False},
        {"do_spatial_diff": True},
        {"do_spatial_diff": True, "do_time_diff": False, "chunk_order": "C"},
        {"dtype": "uint8"},
        {"dtype": "float32"},
    ],
)
def test_every_chunk_equals_what_mtscomp_gives(tmp_path, options):
    answer, compressed, text = recording(tmp_path, seconds=3.3, **options)
    header = inflate.parse_header(text, "x.ch")
    found = b"".join(
        bytes(inflate.inflate(header, chunk, compressed[header.offsets[chunk] : header.offsets[chunk + 1]], "x"))
        for chunk in range(len(header.bounds) - 1)
    )
    assert found == answer
    assert header.size == len(answer)


@pytest.mark.trio
async def test_any_read_equals_the_raw_recording(server, made, tmp_path):
    chance = random.Random(1)
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        assert file.size == len(made[0])
        at_hand = 0
        for _ in range(50):
            offset, size = chance.randrange(file.size + 100), chance.choice([1, 4096, 131072, 500_000])
            expected = made[0][offset : offset + size]
            assert file.at_hand(offset, size) in (b"", expected)
            assert await file.read(offset, size) == expected
            at_hand += file.at_hand(offset, size) == expected != b""
        assert at_hand > 25
        await file.close()


@pytest.mark.trio
async def test_a_read_fetches_the_chunks_it_touches_and_no_more(server, made, tmp_path):
    server.delay = 0.2
    header = inflate.parse_header(made[2], "x.ch")
    second = RATE * CHANNELS * 2
    async with opened(tmp_path) as cache:
        started = trio.current_time()
        file = await open_inflated(cache, server)
        offset = 7 * second + 1000
        for position in range(offset, offset + second, 131072):
            expected = made[0][position : position + 131072]
            assert await file.read(position, 131072) == expected
        assert trio.current_time() - started < 6 * server.delay
        await file.close()
    needed = header.offsets[9] - header.offsets[7]
    assert server.sent - len(made[2]) <= 1.2 * needed + 4 * 32768


@pytest.mark.trio
async def test_a_reader_in_order_finds_the_next_chunk_ready(server, made, tmp_path):
    server.delay = 0.02
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        found = bytearray()
        while part := await file.read(len(found), 65536):
            found += part
            await trio.sleep(0.002)
        assert found == made[0]
        await file.close()


def foreseen(indices):
    chunks = inflate.Chunks()
    return [chunks.read(index) for index in indices]


def test_chunks_in_order_are_foreseen_from_the_fourth_on():
    assert foreseen([7, 7, 8, 8, 9, 10, 11]) == [[], [], [], [], [], [11], [12]]


def test_chunks_at_a_fixed_distance_are_foreseen_after_two_steps():
    assert foreseen([0, 10, 20, 20, 30]) == [[], [], [30], [30], [40]]
    assert foreseen([20, 10, 0])[-1] == [-10]
    assert foreseen([5, 6, 15, 16, 25, 26, 35]) == [[], [], [], [], [26, 35], [35, 36], [36, 45]]


def test_of_random_chunks_none_is_foreseen():
    assert foreseen([5, 90, 3, 4, 60, 59, 12]) == [[]] * 7


@pytest.mark.trio
async def test_a_second_out_of_three_finds_its_chunk_ready(server, made, tmp_path):
    second = RATE * CHANNELS * 2
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        content, _ = file.content
        for chunk in range(0, 19, 3):
            if chunk > 6:
                await until(lambda chunk=chunk: cache._inflater.known_chunk(content, chunk) is not None)
            assert await file.read(chunk * second, second) == made[0][chunk * second :][:second]
        await file.close()


@pytest.mark.trio
async def test_who_reads_a_compressed_recording_gets_its_table_of_chunks_too(server, made, tmp_path):
    table = source(server, "x.ch")
    recording = source(server, "x.cbin", neighbours=lambda: [recording, table])
    async with opened(tmp_path) as cache:
        file = await cache.open(recording)
        assert await file.read(0, 4096) == made[1][:4096]
        assert [request.path for request in server.requests] == ["/x.cbin"]
        for offset in range(4096, 40_000, 4096):
            assert await file.read(offset, 4096) == made[1][offset : offset + 4096]
        await until(lambda: is_here(cache, table))
        await file.close()
        again = await cache.open(recording)
        await again.read(8192, 4096)
        await again.close()
    assert [request.path for request in server.requests].count("/x.ch") == 1


@pytest.mark.trio
async def test_readers_of_one_chunk_inflate_it_once(server, made, tmp_path, monkeypatch):
    inflated = []
    real = inflate.inflate
    # Only looks on: work that is done twice shows in nothing but the time it takes.
    monkeypatch.setattr(inflate, "inflate", lambda *arguments: inflated.append(arguments[1]) or real(*arguments))
    async with opened(tmp_path) as cache, trio.open_nursery() as nursery:

        async def read_start():
            file = await open_inflated(cache, server)
            assert await file.read(10, 1000) == made[0][10:1010]
            await file.close()

        for _ in range(10):
            nursery.start_soon(read_start)
    assert inflated == [0]


@pytest.mark.trio
async def test_inflated_chunks_are_bounded_in_memory(server, made, tmp_path, monkeypatch):
    monkeypatch.setattr(inflate, "MEMORY", 500_000)
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        for offset in range(0, file.size, 50_000):
            assert await file.read(offset, 10) == made[0][offset : offset + 10]
        assert sum(map(len, cache._inflater._chunks.values())) <= 500_000
        await file.close()


@pytest.mark.trio
async def test_the_size_is_known_after_a_remount(server, made, tmp_path):
    both = source(server, "x.cbin"), source(server, "x.ch")
    async with opened(tmp_path) as cache:
        assert cache.known_inflated_size(*both) is None
        await (await cache.open_inflated(*both)).close()
    async with opened(tmp_path) as cache:
        assert cache.known_inflated_size(*both) == len(made[0])


@pytest.mark.trio
async def test_a_damaged_recording_says_so(server, made, tmp_path):
    server.files["x.cbin"] = File(b"\0" * len(made[1]))
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        with pytest.raises(errors.ServerFault, match=r"Chunk 0 of x\.cbin is damaged"):
            await file.read(0, 10)
        await file.close()


def test_a_chunk_without_its_checksum_is_damaged(made):
    header = inflate.parse_header(made[2], "x.ch")
    chunk = made[1][header.offsets[1] : header.offsets[2]]
    assert inflate.inflate(header, 1, chunk, "x.cbin")
    with pytest.raises(errors.ServerFault, match=r"Chunk 1 of x\.cbin"):
        inflate.inflate(header, 1, chunk[:-4], "x.cbin")


@pytest.mark.trio
async def test_another_header_makes_other_chunks_of_the_same_recording(server, made, tmp_path):
    other = json.dumps({**json.loads(made[2]), "do_time_diff": False}).encode()
    expected = bytes(inflate.inflate(inflate.parse_header(other, "x.ch"), 0, made[1], "x.cbin")[:1000])
    async with opened(tmp_path) as cache:
        file = await open_inflated(cache, server)
        assert await file.read(0, 1000) == made[0][:1000]
        await file.close()
        server.files["x.ch"] = File(other, etag='"v2"')
        await cache.refresh(source(server, "x.ch"))
        file = await open_inflated(cache, server)
        assert await file.read(0, 1000) == expected != made[0][:1000]
        await file.close()


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "lzma"},
        {"version": "9"},
        {"chunk_bounds": [0]},
        {"chunk_bounds": [0, 5, 5]},
        {"chunk_offsets": [3, 5]},
        {"chunk_offsets": "abc"},
        {"n_channels": 0},
        {"n_channels": 1.5},
        {"dtype": "object"},
        {"dtype": "nonsense"},
        {"chunk_order": "X"},
    ],
)
def test_a_header_that_makes_no_sense_is_refused(made, change):
    with pytest.raises(errors.ServerFault, match=r"^x\.ch .*\.$"):
        inflate.parse_header(json.dumps(json.loads(made[2]) | change).encode(), "x.ch")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff"])
def test_what_is_no_header_is_refused(text):
    with pytest.raises(errors.ServerFault, match="no header"):
        inflate.parse_header(text, "x.ch")
