"""How many requests all drives of a user send one server in a minute: turns that they take from one file."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import struct
import threading
import time
import zlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import errors
from alyxfs.net import RateLimit, open_network, shared_rate
from alyxfs.net.rate_limit import RequestRate
from alyxfs.net.shared_rate import AHEAD, BELIEVED, LENGTH, LOCKED, TRY_AGAIN, SharedRate, Turns
from fault_server import FaultServer, File
from small_disk import small_disk

NOW = 1.8e9
"""Unix seconds at which simulated time begins."""
PERMITTED = 0.01
"""Seconds, more than the rounding of times in the file."""


def most_in_a_minute(times):
    """The largest number of these in any minute; what is a minute later may be a little less by rounding."""
    times = sorted(times)
    return max(sum(end - 60 + PERMITTED < moment <= end for moment in times) for end in times)


def asked(turns, now, limit, sent=0):
    """One drive's look at what another one left, as it is kept in the file."""
    read = Turns(turns.content())
    return read, read.take(now, limit, sent)


# What is in the file


@given(
    limits=st.lists(st.sampled_from([1, 2, 5, 20, 37.5, 60]), min_size=1, max_size=3),
    asking=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 0, 0.01, 0.5, 3, 20, 61])), max_size=200),
)
def test_whoever_asks_in_whatever_order_a_minute_has_no_more_than_the_highest_limit(limits, asking):
    turns, now, reserved = Turns(), NOW, []
    for drive, pause in asking:
        now += pause
        turns, turn = asked(turns, now, limits[drive % len(limits)])
        assert now <= turn.at <= now + 120
        if turn.is_reserved:
            assert turn.at <= now + AHEAD
            reserved.append(turn.at)
    if reserved:
        assert most_in_a_minute(reserved) <= max(limits)


@pytest.mark.parametrize("limit", [520, 61, 20, 2, 1])
def test_drives_that_have_enough_to_ask_have_the_full_limit_in_every_minute(limit):
    turns, now, reserved = Turns(), NOW, []
    while now < NOW + 600:
        turns, turn = asked(turns, now, limit)
        if turn.is_reserved:
            reserved.append(turn.at)
        now = turn.at
    for minute in range(9):
        begins = NOW + 60 * minute
        count = sum(begins - PERMITTED < moment < begins + 60 - PERMITTED for moment in reserved)
        assert limit - 1 - limit / 100 <= count <= limit, minute


def test_drives_that_wait_have_their_turns_one_after_the_other():
    turns, reserved = Turns(), []
    for _ in range(60 // 2):
        turns, turn = asked(turns, NOW, 60)
    for _ in range(10):
        turns, turn = asked(turns, NOW, 60)
        reserved.append(turn.at - NOW)
    steps = [later - earlier for earlier, later in itertools.pairwise(reserved)]
    assert steps == pytest.approx([2] * 9, abs=PERMITTED)


def test_no_turn_is_reserved_further_ahead_than_an_operation_waits():
    turns = Turns()
    for _ in range(100):
        turns, turn = asked(turns, NOW, 60)
    assert not turn.is_reserved
    assert NOW < turn.at <= NOW + 2 + PERMITTED
    assert asked(turns, turn.at + PERMITTED, 60)[1].is_reserved, "it is when to ask again"


def test_a_drive_with_a_lower_limit_neither_starves_nor_slows_down_one_with_a_higher_one():
    turns, now, counts = Turns(), NOW, {6: 0, 600: 0}
    low = NOW
    while now < NOW + 300:
        turns, turn = asked(turns, now, 600)
        counts[600] += turn.is_reserved
        if low <= now:
            turns, of_low = asked(turns, now, 6)
            counts[6] += of_low.is_reserved
            low = now + 10  # by itself it asks no more
        now = max(turn.at, now + 0.02)
    assert counts[6] == pytest.approx(30, abs=1)
    assert counts[600] > 5 * 600 - 60


def test_what_was_sent_without_a_turn_counts():
    turns = Turns()
    turns, turn = asked(turns, NOW, 60, sent=29)
    assert turn.at == NOW
    for _ in range(2):
        turns, turn = asked(turns, NOW, 60)
    assert turn.at > NOW


def test_what_was_sent_without_a_turn_does_not_count_for_less_because_others_are_reserved():
    turns = Turns()
    for now in (NOW, NOW, NOW + 35, NOW + 35):
        turns, turn = asked(turns, now, 2)
    assert turn.at == NOW + 60
    assert asked(turns, NOW + 41, 2, sent=1)[1] == (NOW + 120 - AHEAD, False)


@pytest.mark.parametrize("back", [1, 50, 3600, 10**9])
def test_a_clock_that_was_set_back_makes_nobody_wait_for_long(back):
    turns = Turns()
    for _ in range(60):
        turns, _ = asked(turns, NOW, 60)
    began = now = NOW - back
    while not (answer := asked(turns, now, 60))[1].is_reserved:
        turns, now = answer[0], answer[1].at + PERMITTED
    assert answer[1].at - began <= BELIEVED + 2 + PERMITTED, "one of those that are spread, at the latest"


ANY = st.one_of(st.floats(), st.floats(NOW - 100, NOW + 100))


@given(head=st.tuples(ANY, ANY, ANY), times=st.lists(ANY, max_size=40), limit=st.sampled_from([2, 60, 520, 1000]))
def test_whatever_stands_in_the_file_a_turn_comes_a_minute_later_at_the_latest(head, times, limit):
    times = [0.0] * (500 - len(times)) + times
    form = struct.pack("<16s503d", b"alyxfs turns 1", *head, *times)
    turns, now = Turns(form + struct.pack("<I", zlib.crc32(form))), NOW
    while not (answer := asked(turns, now, limit))[1].is_reserved:
        turns, now = answer[0], max(answer[1].at, now) + PERMITTED
    assert now <= answer[1].at
    assert answer[1].at - NOW <= BELIEVED + 60 / (limit / 2) + PERMITTED


@given(st.binary(max_size=2 * LENGTH))
def test_what_is_not_as_it_is_written_is_as_nothing(content):
    assert Turns(content).content() == Turns().content()


def test_one_wrong_bit_is_enough():
    turns, _ = asked(Turns(), NOW, 60)
    content = turns.content()
    assert Turns(content).content() == content
    for place in (0, 20, LENGTH // 2, LENGTH - 1):
        broken = bytearray(content)
        broken[place] ^= 1
        assert Turns(bytes(broken)).content() == Turns().content()
    form = content[:-4].replace(b"turns 1", b"turns 2")
    assert Turns(form + struct.pack("<I", zlib.crc32(form))).content() == Turns().content(), "of another version"


# The file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "requests" / "alyx.example.org"


async def seconds_until_turn(rate):
    started = trio.current_time()
    await rate.wait_for_turn()
    return trio.current_time() - started


async def take_all_at_once(path, limit):
    rate = SharedRate(path, limit)
    for _ in range(limit // 2 + 1):
        assert await seconds_until_turn(rate) < 1
    assert not rate.trouble


@pytest.mark.trio
async def test_what_one_has_used_the_other_waits_for(path):
    await take_all_at_once(path, 600)
    later = SharedRate(path, 600)
    with trio.fail_after(5):
        waits = [await seconds_until_turn(later) for _ in range(4)]
    assert sum(waits[1:]) == pytest.approx(3 * 60 / 300, rel=0.3)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size == LENGTH


@pytest.mark.trio
async def test_who_stops_waiting_leaves_the_turn_to_the_next_of_the_drive(path):
    await take_all_at_once(path, 10)
    rate = RequestRate(10, SharedRate(path, 10))
    for _ in range(100):
        with trio.move_on_after(0.005):
            await rate.wait_for_turn()
    assert one_is_reserved(path)


def one_is_reserved(path):
    """Of five a minute, after the others of this minute were used: else nothing could be reserved any more."""
    second = Turns(path.read_bytes()).take(time.time(), 10, 0)
    return second.is_reserved and second.at > time.time() + 60 / 5


@pytest.mark.trio
async def test_who_stops_waiting_while_the_file_is_looked_at_loses_no_turn(path):
    await take_all_at_once(path, 10)
    rate = SharedRate(path, 10)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        unlock = threading.Timer(0.3, fcntl.flock, (file, fcntl.LOCK_UN))
        unlock.start()
        with trio.move_on_after(0.1):
            await rate.wait_for_turn()
        with trio.move_on_after(1):
            await rate.wait_for_turn()
        unlock.join()
    assert one_is_reserved(path)


@pytest.mark.trio
@pytest.mark.parametrize("content", [b"", b"short", os.urandom(LENGTH), bytes(LENGTH), os.urandom(3 * LENGTH)])
async def test_a_broken_file_is_made_anew(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o666)
    await take_all_at_once(path, 60)
    assert path.stat().st_size == LENGTH
    assert path.stat().st_mode & 0o777 == 0o600
    assert not Turns(path.read_bytes()).take(time.time(), 60, 0).at <= time.time()


def a_link(path):
    path.symlink_to(path.parent / "of somebody else")
    (path.parent / "of somebody else").write_bytes(b"precious")


def a_file_above(path):
    path.parent.rmdir()
    path.parent.write_bytes(b"")


@pytest.mark.trio
@pytest.mark.parametrize("obstacle", [a_link, a_file_above, lambda path: path.mkdir(), os.mkfifo])
async def test_where_the_file_cannot_be_used_the_drive_counts_alone_and_says_so_once(path, obstacle, caplog):
    caplog.set_level("INFO")
    path.parent.mkdir()
    obstacle(path)
    rate = RequestRate(60, SharedRate(path, 60))
    with trio.fail_after(2):
        for _ in range(31):
            await rate.wait_for_turn()
    assert f"alone, not with other drives of yours in {path}: " in rate.trouble
    with trio.move_on_after(0.5) as scope:
        await rate.wait_for_turn()
    assert scope.cancelled_caught, "its own limit holds"
    assert rate.waiting == 0
    said = [record for record in caplog.records if record.name == shared_rate.__name__]
    assert [record.levelname for record in said] == ["INFO"]
    if obstacle is a_link:
        assert (path.parent / "of somebody else").read_bytes() == b"precious"


@pytest.mark.trio
async def test_it_counts_with_others_again_when_the_file_can_be_used(path, mock_clock, caplog):
    caplog.set_level("INFO")
    path.parent.mkdir()
    path.mkdir()
    rate = SharedRate(path, 60)
    for _ in range(9):
        await rate.wait_for_turn()
    mock_clock.jump(TRY_AGAIN + 1)
    await rate.wait_for_turn()
    assert len([record for record in caplog.records if record.name == shared_rate.__name__]) == 1, "said once"
    path.rmdir()
    await rate.wait_for_turn()
    assert not path.exists(), "a file that fails is not tried for each request"
    mock_clock.jump(TRY_AGAIN + 1)
    await rate.wait_for_turn()
    assert rate.trouble == ""
    turns, free = Turns(path.read_bytes()), 0
    while turns.take(time.time(), 60, 0).at <= time.time():
        free += 1
    assert free == 31 - 12, "what was sent meanwhile is counted"


@pytest.mark.trio
async def test_where_the_disk_is_full_the_drive_counts_alone_until_there_is_room(tmp_path, mock_clock):
    with small_disk(tmp_path / "disk", 1) as disk:
        rest = disk / "rest"
        with pytest.raises(OSError, match="No space"):
            rest.write_bytes(bytes(1 << 21))
        path = disk / "requests"
        rate = SharedRate(path, 60)
        await rate.wait_for_turn()
        assert rate.trouble.endswith(f"with other drives of yours in {path}: No space left on device.")
        rest.unlink()
        mock_clock.jump(TRY_AGAIN + 1)
        await rate.wait_for_turn()
        assert rate.trouble == ""
        assert path.stat().st_size == LENGTH


@pytest.mark.trio
async def test_a_file_that_others_keep_locked_holds_up_one_request_and_nothing_else(path):
    await take_all_at_once(path, 60)
    rate, waiting = RequestRate(60, SharedRate(path, 60)), []

    async def tick():
        while True:
            await trio.sleep(0.01)
            waiting.append(rate.waiting)

    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            assert LOCKED <= await seconds_until_turn(rate) < LOCKED + 1
            assert "locked" in rate.trouble
            assert await seconds_until_turn(rate) < 0.1
            nursery.cancel_scope.cancel()
    assert len(waiting) > 50 * LOCKED
    assert set(waiting) == {0}, "it is not the limit that is waited for"


def take_until_killed(path, told):
    """In a process of its own: turns, fewer than two have at once, and the time of each told."""
    try:
        rate = SharedRate(path, 1000)
        for _ in range(200):
            os.write(told, struct.pack("<d", rate._take_from_file(0).at))
        signal.pause()
    finally:
        os._exit(1)


@pytest.mark.parametrize("milliseconds", [1, 2, 3, 5, 8, 13, 21])
def test_processes_that_are_killed_in_the_middle_lose_a_turn_each_and_break_nothing(path, milliseconds):
    began = time.time()
    reading, told = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            take_until_killed(path, told)
        children.append(child)
    os.close(told)
    with open(reading, "rb") as file:
        first = file.read(8)
        time.sleep(milliseconds / 1000)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        times = [moment for (moment,) in struct.iter_unpack("<d", first + file.read())]
    assert all(began <= moment <= time.time() for moment in times)
    content = path.read_bytes()
    assert Turns(content).content() == content
    at_once = sum(moment >= began for moment in Turns(content)._times)
    spread = 1 + (time.time() - began) / (60 / 500)
    assert len(times) - spread <= at_once <= len(times) + len(children)


# Drives on one file


@pytest.fixture
def server():
    with FaultServer({"a": File(b"content")}, most_repeats=None) as server:
        yield server


@pytest.mark.trio
async def test_two_walks_and_somebody_beside_them_keep_to_one_limit(path):
    """After the first half of a minute is used up. The upper bound holds however slow the machine is."""
    limit, seconds, step = 600, 5, 60 / 300
    sent = {"one": 0, "other": 0, "person": 0}
    rates = {name: RequestRate(limit, SharedRate(path, limit)) for name in sent}
    await take_all_at_once(path, limit)

    async def walk(name):
        while True:
            await rates[name].wait_for_turn()
            sent[name] += 1
            await trio.sleep(0.02)

    waits, waiting, began = [], set(), trio.current_time()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for name in ("one", "other"):
                nursery.start_soon(walk, name)
            while True:
                await trio.sleep(0.5)
                waiting.add(rates["one"].waiting)
                started = trio.current_time()
                await rates["person"].wait_for_turn()
                sent["person"] += 1
                waits.append(trio.current_time() - started)
    most = 1 + (trio.current_time() - began) / step
    assert most / 2 < sum(sent.values()) <= most
    assert min(sent["one"], sent["other"]) > most / 6, "each has its share"
    assert max(waits) < 2
    assert 1 in waiting
    assert waiting <= {0, 1}
    assert [rate.waiting for rate in rates.values()] == [0, 0, 0]


@pytest.mark.trio
async def test_a_request_that_is_sent_without_a_turn_counts_for_the_other_drive(path):
    one, other = (RequestRate(60, SharedRate(path, 60)) for _ in range(2))
    for _ in range(30):
        one.count()
    with trio.fail_after(1):
        await one.wait_for_turn()
    with trio.move_on_after(0.5) as scope:
        await other.wait_for_turn()
    assert scope.cancelled_caught


@pytest.mark.trio
async def test_a_request_without_a_turn_in_its_time_is_told_so_and_the_server_is_not_thought_to_be_down(path, server):
    await take_all_at_once(path, 10)
    url = server.url("a")
    async with open_network(deadline=1.5) as network:
        network.alyx_at(url)
        network.origin(url, RateLimit(requests_per_minute=10, shared_in=path))
        with pytest.raises(errors.Throttled, match="wait for their turn"):
            await network.request("GET", url)
        assert not network.is_down(url)
        assert network.waiting_for_limit(url) == 0
        assert network.trouble_of_limit(url) == ""
    assert server.requests == []


@pytest.mark.trio
async def test_who_may_ask_more_than_any_alyx_bears_counts_alone(path, server):
    url = server.url("a")
    async with open_network() as network:
        network.alyx_at(url)
        network.origin(url, RateLimit(requests_per_minute=1001, shared_in=path))
        assert (await network.request("GET", url)).status == 200
    assert not path.exists()
