"""A hostile Alyx: each answer made to fill memory or time, or to break what reads it, through a real mount.

Each case says what a program sees; what none may cost is asserted by ``World.case`` (tests/support/hostile_world.py).
"""

from __future__ import annotations

import errno
import json
import os
import time

import pytest

from hostile import (
    IDS,
    LONGEST,
    MIB,
    MOST_MEMORY,
    OPTIONS,
    PeakMemory,
    answering,
    compressed_bomb,
    deep,
    endless,
    head,
    hostile_alyx,
    page,
    plain,
    repeated,
)
from hostile_world import hostile_world
from mounted import mounted, run_alyxfs
from small_alyx import identifiers


def notes(drive):
    os.listdir(drive / "notes")


def subjects(drive):
    os.listdir(drive / "subjects")


def record(drive):
    (drive / "notes" / f"{UNLISTED}.json").read_bytes()


UNLISTED = identifiers(1, seed=4242)[0]
NOTE = f"/notes/{UNLISTED}"
EIO = {errno.EIO}
LATE = {errno.EIO, errno.ETIMEDOUT}
INVALID = {errno.EINVAL}
HEAD = b"HTTP/1.1 200 X\r\n"
NOTES = "/notes"
CASES = {  # those that are lists of nothing come last: what was listed once is served in bad times
    "no HTTP": (NOTES, endless(b"\x16\x03\r\n" * 9, beginning=b"\0", most=10_000), notes, EIO),
    "a list of 100,000 brackets": (NOTES, plain(deep(100_000)), notes, EIO),
    "a record nested 500 deep": (NOTE, plain(b'{"a":' + deep(500) + b"}"), record, EIO),
    "a refusal nested 990 deep": (NOTE, plain(b'{"a":' * 990 + b"1" + b"}" * 990, status=400), record, INVALID),
    "a refusal of 100,000 brackets": (NOTE, plain(deep(100_000), status=500), record, EIO),
    "a page that Python's HTML parser asserts on": (NOTE, plain(b"<![foo bar]]>" * 99, status=500), record, EIO),
    "a gzip answer of 900 MB": (NOTES, compressed_bomb, notes, LATE),
    "a body of 1 GiB, announced": (NOTES, endless(b" " * MIB, announced=1 << 30), notes, LATE),
    "a body of 3 GiB, not announced": (NOTES, endless(b" " * MIB), notes, LATE),
    "a refusal of 3 GiB": (NOTE, endless(b"x" * MIB, beginning=head(status=400)), record, {errno.EINVAL, *LATE}),
    "two bytes that become 60": (NOTES, plain(b'{"results":[' + b"[]," * 7_000_000 + b"1]}"), notes, EIO),
    "a record of empty lists": (NOTE, plain(b'{"a":[' + b"{}," * 7_000_000 + b"1]}"), record, EIO),
    "endless headers": (NOTES, endless(b"X-Y: " + b"z" * 1000 + b"\r\n", beginning=HEAD), notes, LATE),
    "a header without end": (NOTES, endless(b"z" * 1000, beginning=HEAD + b"X: "), notes, LATE),
    "a byte a second": (NOTES, endless(b" ", announced=1000, pause=1.0, most=60), notes, LATE),
    "a head of a byte a second": (NOTES, endless(b"a", beginning=HEAD, pause=1.0, most=60), notes, LATE),
    "a count of 10^12": (NOTES, plain(page([{"id": IDS[0]}], 10**12)), notes, EIO),
    "a count of 10^4000": (NOTES, plain(b'{"count": 1' + b"0" * 4000 + b', "results": []}'), notes, EIO),
    "a count of 10^5000": (NOTES, plain(b'{"count": 1' + b"0" * 5000 + b', "results": []}'), notes, EIO),
    "pages that repeat": (NOTES, repeated, notes, LATE),
    "a negative count": (NOTES, plain(page([], -5)), notes, set()),
    "a list of nothing": (NOTES, plain(page([None, 5, "x", [], {}])), notes, set()),
    "a record of another": (NOTE, plain(json.dumps({"id": IDS[1]}).encode()), record, EIO),
    "a name of 20 MB": ("/subjects", plain(page([{"nickname": "n" * 20 * MIB}])), subjects, set()),
    "names of control characters": ("/subjects", plain(page([{"nickname": "\ud800\x00\n/"}])), subjects, set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with hostile_world(tmp_path_factory.mktemp("hostile") / "world") as world:
        yield world


@pytest.fixture(scope="module")
def alyx():
    with hostile_alyx() as alyx:
        yield alyx


@pytest.mark.parametrize("case", list(CASES))
def test_an_answer_costs_its_reader_an_error_and_nothing_else(world, case):
    path, answer, read, expected = CASES[case]
    with world.case(case, {path: answer}):
        failure = world.attempt(read, world.drive)
    number = failure.errno if isinstance(failure, OSError) else None
    names = {errno.errorcode[each] for each in expected} or {None}
    assert errno.errorcode.get(number) in names
    if expected:
        assert (world.drive / ".alyxfs/errors.log").read_text()


def test_a_long_list_of_large_records_is_read_whole(home):
    """Logs of 300 kB in each of 400 tasks, as a real Alyx has them, hidden behind small ones: 120 MB in all."""
    ids = identifiers(700, seed=5)
    with hostile_alyx() as alyx:
        alyx.put(
            "tasks", [{"id": each, "log": "x" * (300_000 if number >= 300 else 10)} for number, each in enumerate(ids)]
        )
        with mounted(alyx.url, home) as drive, PeakMemory(drive) as memory:
            assert sorted(os.listdir(drive / "tasks")) == sorted(f"{each}.json" for each in ids)
    assert memory.above_idle < MOST_MEMORY, f"{memory.above_idle / MIB:.0f} MiB above idle"


# Before there is a drive

AT_MOUNT = {
    "a schema of 100,000 brackets": ("/api/schema", plain(deep(100_000))),
    "a schema without end": ("/api/schema", endless(b" " * MIB)),
    "a schema of a list": ("/api/schema", plain(b"[]")),
    "a token of two lines": ("/auth-token", plain(b'{"token": "a\\r\\nX: y"}')),
    "a token that is none": ("/auth-token", plain(b'{"token": {"a": 1}}')),
    "a log-in without end": ("/auth-token", endless(b" " * MIB)),
    "a log-in nested deep": ("/auth-token", plain(deep(100_000))),
}


@pytest.mark.parametrize("case", list(AT_MOUNT))
def test_a_mount_fails_with_a_sentence(alyx, tmp_path, case):
    path, answer = AT_MOUNT[case]
    alyx.instead[path] = answer
    home = tmp_path / "home"
    home.mkdir()
    try:
        began = time.monotonic()
        done = run_alyxfs(
            home, "mount", *OPTIONS, alyx.url, str(home / "drive"), ALYXFS_USER="demo", ALYXFS_PASSWORD="demo"
        )
        assert time.monotonic() - began < LONGEST + 10, "with the start of two processes"
    finally:
        del alyx.instead[path]
    assert done.returncode in {1, 4, 5}, done
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("alyxfs: ")
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_schema_of_odd_parts_costs_those_parts(alyx, tmp_path):
    odd = {"/x": 5, "/y/{id}": [1], "/../{id}": {"get": {}}, "/a\n/{id}": {"get": {}}, "/z": {"get": {"parameters": 7}}}
    schema = {**alyx.schema, "paths": {**odd, **alyx.schema["paths"]}}
    with answering(alyx, {"/api/schema": (200, schema)}), mounted(alyx.url, tmp_path / "home", *OPTIONS) as drive:
        assert {"sessions", "subjects", "data"} <= set(os.listdir(drive.path))
        for name in os.listdir(drive.path):
            os.listdir(drive / name)
            if name != "data":
                json.loads((drive / name / ".schema.json").read_bytes())
