"""Hostile and damaged cache tables, through a real mount: the API is asked instead, in bounded time and memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hostile import IDS, MIB, MOST_MEMORY, OPTIONS, PeakMemory, answering, bounded, hostile_alyx
from hostile_world import hostile_world
from mounted import mounted
from small_alyx import identifiers

MADE = (200, {"date_created": "2024-06-01 12:00"})
INFO = b'{"date_created": "2024-06-01 12:00"}'


@pytest.fixture(scope="module")
def alyx():
    with hostile_alyx() as alyx:
        yield alyx


def archive(info=INFO, **members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cache_info.json", info)
        for name, content in members.items():
            packed.writestr(f"{name}.pqt", content)
    return target.getvalue()


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def sessions_table(count=30):
    ids = identifiers(count, seed=9)
    days = pa.array([19000] * count, pa.date32())
    return pa.table({"id": ids, "lab": ["lab"] * count, "subject": ["s"] * count, "date": days, "number": [1] * count})


def datasets_table(path="alf/x.npy", count=30, **columns):
    values = {"eid": identifiers(count, seed=9), "id": identifiers(count, seed=10), "rel_path": [path] * count,
              "file_size": [1] * count, "hash": ["0" * 32] * count, "default_revision": [True] * count,
              "qc": ["PASS"] * count}  # fmt: skip
    return pa.table({**values, **columns})


def good_sessions():
    return parquet(sessions_table())


def good_tables(info):
    return archive(info, sessions=good_sessions(), datasets=parquet(datasets_table()))


def encrypted():
    packed = bytearray(archive(sessions=good_sessions(), datasets=parquet(datasets_table())))
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        packed[packed.index(mark) + offset] |= 1
    return bytes(packed)


def damaged():
    packed = bytearray(archive(sessions=good_sessions(), datasets=parquet(datasets_table())))
    packed[60:80] = b"\xff" * 20
    return bytes(packed)


def many_members():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for number in range(5000):
            packed.writestr(f"{number}", b"")
    return target.getvalue()


def long_text_told_once(codec):
    """20,000 rows of a text of 40 MB, which stands in the file once."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["a" * 40 * MIB])
    table = datasets_table(count=20_000, rel_path=text)
    return archive(sessions=good_sessions(), datasets=parquet(table, compression=codec))


def many_rows():
    """Five million equal rows in a few hundred bytes."""
    table = pa.table({name: pa.repeat(value, 5_000_000) for name, value in (("eid", "a"), ("id", "b"))})
    return archive(sessions=good_sessions(), datasets=parquet(table, compression="zstd", row_group_size=5_000_000))


def nested_table():
    column = pa.array([[["x"]]] * 30)
    return archive(sessions=good_sessions(), datasets=parquet(datasets_table(rel_path=column)))


def large_pages(codec):
    hashes = pa.array(["0" * 4 * MIB] * 30)
    table = datasets_table(hash=hashes)
    return archive(sessions=good_sessions(), datasets=parquet(table, compression=codec, use_dictionary=False))


ARCHIVES = {
    "encrypted": encrypted,
    "damaged": damaged,
    "a bomb of 300 MB": lambda: archive(sessions=good_sessions(), datasets=b"\0" * 300_000_000),
    "of 5,000 members": many_members,
    "no archive": lambda: b"PK" * 1000,
    "of other tables": lambda: archive(sessions=good_sessions(), datasets=good_sessions()),
    "of texts": lambda: archive(sessions=b"<html>", datasets=b"{}"),
    "of a long text told once": lambda: long_text_told_once("snappy"),
    "of a long text told once, packed well": lambda: long_text_told_once("zstd"),
    "of many rows": many_rows,
    "of a time to come": lambda: good_tables(b'{"date_created": "2924-06-01 12:00"}'),
    "of no time": lambda: good_tables(b'{"date_created": ["2024"]}'),
    "of a long story about itself": lambda: good_tables(b'{"date_created": "2024-06-01 12:00"}' + b" " * 10_000_000),
    "of nested columns": nested_table,
    "of large pages": lambda: large_pages("gzip"),
}


@pytest.mark.parametrize("case", list(ARCHIVES))
def test_an_archive_is_left_and_the_api_asked_instead(tmp_path, case):
    answers = {"/cache/info": MADE, "/cache.zip": (200, ARCHIVES[case]())}
    with hostile_world(tmp_path / "world", answers=answers, session_count=30) as world:
        with world.case(case), PeakMemory(world.drive) as memory:
            assert sorted(os.listdir(world.drive / "data")) == ["lab"]
            assert len(os.listdir(world.drive / "sessions")) == 30
        assert memory.above_idle < MOST_MEMORY, f"{memory.above_idle / MIB:.0f} MiB above idle"
        state = json.loads((world.drive / ".alyxfs/status.json").read_bytes())["cache_tables"]
        assert not state["used"]
        assert state["note"].endswith("."), state


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a small disk")
def test_a_full_disk_costs_the_tables_and_nothing_else(alyx, tmp_path):
    home = tmp_path / "home"
    (home / ".cache").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", home / ".cache"], check=True)
    try:
        noise = os.urandom(20 * MIB)
        for content in (archive(sessions=noise, datasets=noise), archive(sessions=b"", datasets=noise)):
            answers = {"/cache/info": MADE, "/cache.zip": (200, content)}
            with answering(alyx, answers), mounted(alyx.url, home, *OPTIONS) as drive, bounded(drive):
                os.listdir(drive / "data")
                assert len(os.listdir(drive / "sessions")) == len(IDS)
                assert "room" in json.loads((drive / ".alyxfs/status.json").read_bytes())["cache_tables"]["note"]
    finally:
        subprocess.run(["umount", home / ".cache"], check=True)
