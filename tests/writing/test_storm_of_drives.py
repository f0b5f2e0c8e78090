"""Eight programs on two drives and a writer outside, all on the same few records: the history of the rows judges.

Every value that a program was told is saved was there. It is there at the end, or was replaced by one whose writer had
read it, or its loss was told. No call takes longer than the deadline.

The long form: ALYXFS_STORM_SECONDS=300, with ALYXFS_STORM_SERVER, ALYXFS_STORM_USER, ALYXFS_STORM_PASSWORD and
ALYXFS_STORM_DATABASE (postgresql://…) on a real Alyx, whose database gets a trigger.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import mounted, until
from row_history import RowHistory
from writing import FAST

SECONDS = float(os.environ.get("ALYXFS_STORM_SECONDS", "8"))
SERVER = os.environ.get("ALYXFS_STORM_SERVER")
DEADLINE = 10.0
BEYOND = 8.0
"""Seconds beyond the deadline: 5 so that a request's own error is the one told, 2 to keep a draft, one to be late."""
RECORDS = 6
SLOTS = ("narrative", "json.a", "json.b", "json.c")

WORKER = """
import json, os, random, sys, time
name, directory, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
keys, slots = json.load(sys.stdin)
random.seed(name)
longest, number, ends = 0.0, 0, time.monotonic() + seconds

def timed(call, *arguments):
    global longest
    began = time.monotonic()
    try:
        return call(*arguments)
    finally:
        longest = max(longest, time.monotonic() - began)

def save(path, text):
    way = random.choice(["truncate", "in place", "rename"])
    target = f"{path}.{name}.tmp" if way == "rename" else path
    flags = os.O_RDWR if way == "in place" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    file = timed(os.open, target, flags, 0o644)
    try:
        if way == "in place":
            timed(os.ftruncate, file, 0)
        half = len(text) // 2
        timed(os.pwrite, file, text[:half], 0)
        timed(os.pwrite, file, text[half:], half)
        if random.random() < 0.5:
            timed(os.fsync, file)
    except OSError:
        try:
            timed(os.close, file)
        except OSError:
            pass
        raise
    timed(os.close, file)
    if way == "rename":
        try:
            timed(os.rename, target, path)
        except OSError:
            timed(os.unlink, target)
            raise

def read(path):
    file = timed(os.open, path, os.O_RDONLY)
    try:
        return timed(os.pread, file, 1 << 20, 0)
    finally:
        os.close(file)

while time.monotonic() < ends:
    key, slot = random.choice(keys), random.choice(slots)
    path = f"{directory}/{key}.json"
    number += 1
    try:
        document = json.loads(read(path))
    except OSError as failure:
        print(json.dumps(["unread", failure.errno]), flush=True)
        continue
    value = f"{name} {number}"
    field, _, inner = slot.partition(".")
    before = (document[field] or {}).get(inner) if inner else document[field]
    document[field] = {**(document[field] or {}), inner: value} if inner else value
    try:
        save(path, json.dumps(document).encode())
        print(json.dumps(["saved", key, slot, before, value]), flush=True)
    except OSError as failure:
        print(json.dumps(["refused", failure.errno]), flush=True)
print(json.dumps(["longest", longest]))
"""


@dataclass
class Saved:
    """What a program was told is saved."""

    key: str
    slot: str
    before: object
    value: str


def write_outside(asking, keys, ends, saved):
    """A program that does not use a drive; what it loses nobody can tell, and it is not asked for."""
    number = 0
    while time.monotonic() < ends:
        key, slot = keys[number % len(keys)], SLOTS[number % len(SLOTS)]
        number += 1
        document = asking.get(f"/sessions/{key}")
        field, _, inner = slot.partition(".")
        value = f"outside {number}"
        before = at(document, slot)
        sent = {field: {**(document[field] or {}), inner: value} if inner else value}
        asking.send("PATCH", f"/sessions/{key}", sent)
        saved.append(Saved(key, slot, before, value))
        time.sleep(0.2)


def at(document, slot):
    field, _, inner = slot.partition(".")
    return (document[field] or {}).get(inner) if inner else document[field]


def follow_errors(drives, told, has_ended):
    """All lines of all drives' errors.log that tell of a loss: the file itself holds the newest ones only."""
    while True:
        ended = has_ended.is_set()
        for drive in drives:
            text = (drive / ".alyxfs" / "errors.log").read_text()
            told.update(
                re.findall(r'overwritten sessions/\S+: (\S+) of sessions/(\S+), which was saved as "([^"]+)"', text)
            )
        if ended:
            return
        has_ended.wait(1)


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_what_is_acknowledged_is_there_or_its_loss_is_told(tmp_path):
    with ExitStack() as stack:
        if SERVER:
            url, database = SERVER, os.environ["ALYXFS_STORM_DATABASE"]
            user, password = os.environ["ALYXFS_STORM_USER"], os.environ["ALYXFS_STORM_PASSWORD"]
            subject = {"subject": os.environ.get("ALYXFS_STORM_SUBJECT", "KS001"), "lab": "cortexlab"}
        else:
            demo = stack.enter_context(running_demo(tmp_path / "demo", largest_file_mb=2, control=True, fresh=False))
            url, user, password = demo.url, "demo", "demo"
            (database,) = map(str, (tmp_path / "demo").rglob("*.sqlite3"))
            subject = {"subject": "KS001", "lab": "cortexlab"}
        asking = Asking(url, user, password)
        keys = [asking.send("POST", "/sessions", subject)["id"] for _ in range(RECORDS)]
        history = RowHistory(database)
        options = ("--rw", *FAST, "--deadline", f"{DEADLINE:g}", "--time-to-live", "1")
        account = {"ALYXFS_USER": user, "ALYXFS_PASSWORD": password}
        drives = [
            stack.enter_context(mounted(url, tmp_path / f"home{number}", *options, **account)) for number in range(2)
        ]
        saved, refused, longest, told = [], Counter(), 0.0, set()
        has_ended = threading.Event()
        follower = threading.Thread(target=follow_errors, args=(drives, told, has_ended))
        outside = []
        outsider = threading.Thread(target=write_outside, args=(asking, keys, time.monotonic() + SECONDS, outside))
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, f"p{number}", str(drives[number % 2] / "sessions"), str(SECONDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(8)
        ]
        for worker in workers:
            worker.stdin.write(json.dumps([keys, SLOTS]))
            worker.stdin.close()
        follower.start()
        outsider.start()
        for worker in workers:
            with worker.stdout as lines:
                for line in map(json.loads, lines):
                    if line[0] == "saved":
                        saved.append(Saved(*line[1:]))
                    elif line[0] == "longest":
                        longest = max(longest, line[1])
                    else:
                        refused[f"{line[0]}: {os.strerror(line[1])}"] += 1
        assert [worker.wait(60) for worker in workers] == [0] * len(workers)
        outsider.join()
        for drive in drives:
            status = drive / ".alyxfs" / "status.json"
            until(lambda: not json.loads(status.read_text())["to_look_at_again"], "the second looks")  # noqa: B023
        has_ended.set()
        follower.join()
        states = {key: history.of_session(key) for key in keys}

    assert len(saved) > SECONDS, refused
    false = [each for each in saved if each.value not in [at(state, each.slot) for state in states[each.key]]]
    lost = [each for each in saved if is_lost(each, states[each.key], [*saved, *outside])]
    silent = [each for each in lost if (each.slot, each.key, each.value) not in told]
    print(
        f"{len(saved)} saves acknowledged by {len(drives)} drives, {len(outside)} outside, {dict(refused)}; "
        f"{len(false)} falsely, {len(lost)} lost to a race, of which {len(silent)} without a word; "
        f"the longest call took {longest:.1f} s"
    )
    assert false == []
    assert silent == [], "\n".join(story(each, states[each.key]) for each in silent)
    assert longest < DEADLINE + BEYOND


def story(each, states):
    """What became of the slot of a value: each value with its time; the same one again is a save of another slot."""
    values = [(f"{state['time'] % 1000:.3f}", at(state, each.slot)) for state in states]
    return f"{each.slot} of {each.key}, saved as {each.value!r} (it was {each.before!r}): {values}"


def is_lost(each, states, everybody):
    """Whether the value went, and nobody who had read it has saved another one in its place."""
    values = [at(state, each.slot) for state in states]
    if values[-1] == each.value or each.value not in values:
        return False
    return (each.key, each.slot, each.value) not in {(other.key, other.slot, other.before) for other in everybody}
