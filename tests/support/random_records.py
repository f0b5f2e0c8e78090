"""Random operations on the drive and on a dictionary (hypothesis, stateful), for the two files of tests that run them.

Each file has a seed of its own, so that two workers share the runs.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import random
import urllib.parse
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from alyxfs.demo.server import running_demo
from asking import Asking, shown
from writing import writing

RUNS = int(os.environ.get("ALYXFS_MODEL_RUNS", "50" if "ALYXFS_FULL_TESTS" in os.environ else "20"))
"""Of each file. ALYXFS_MODEL_RUNS asks for more, and what fails is shrunk, which takes long."""
STEPS = 50
ON_REQUEST = "ALYXFS_MODEL_RUNS" in os.environ

SUBJECT = "KS004"
LAB = "cortexlab"
FIELDS = ("narrative", "n_trials")
EDITS = st.fixed_dictionaries(
    {}, optional={"narrative": st.sampled_from(["", "a", "b", "ü" * 40]), "n_trials": st.sampled_from([1, 2, 3])}
)
INDEX = st.integers(0, 100)

_numbers = itertools.count(1)


@contextlib.contextmanager
def called(name):
    """Be a program of this name for a moment: the drive tells rm from an editor by it."""
    with open("/proc/self/comm", "r+") as file:
        before = file.read().strip()
    for each in (name, before):
        with open("/proc/self/comm", "w") as file:
            file.write(each)
        if each == name:
            yield


def errno_of(write):
    """What a program is told; 0 where it is told nothing."""
    try:
        write()
    except OSError as error:
        return error.errno
    return 0


class Records(RuleBasedStateMachine):
    """``server`` is what is true, ``memory`` what the drive has fetched last, ``seen`` what this program believes."""

    room = None
    there_before = frozenset()
    whole_runs = 0
    """Of all steps; hypothesis may end one early."""

    def __init__(self):
        super().__init__()
        self.steps = -1  # that before the first
        self.server, self.memory, self.seen = {}, {}, {}

    @invariant()
    def count(self):
        self.steps += 1

    @initialize()
    def begin(self):
        for _ in range(2):
            self.make({"narrative": "begun"})

    def key(self, index):
        """In the order of their making: ids are the server's, and a run must be the same each time."""
        return list(self.server)[index % len(self.server)]

    def path(self, key):
        return self.room.file("sessions", key)

    def read(self, key):
        """Read the file; it must show what the drive has fetched last.

        That is what the server has now where the drive has looked whether somebody replaced what it saved, which it
        does some time after a save.
        """
        document = json.loads(self.path(key).read_bytes())
        shown = {field: document[field] for field in FIELDS}
        self.memory.setdefault(key, dict(self.server[key]))
        if shown == self.server[key]:
            self.memory[key] = shown
        assert shown == self.memory[key]
        self.seen[key] = shown
        return document

    def expect(self, key, mine):
        """Whether a save succeeds, and what is true after it."""
        server = self.server[key]
        self.memory.setdefault(key, dict(server))  # opening it fetches it
        base = self.seen.get(key) or self.memory.get(key) or dict(server)
        edited = {field: value for field, value in mine.items() if value != base[field]}
        if any(base[field] != server[field] != value for field, value in edited.items()):
            self.memory.pop(key, None)
            return errno.ESTALE
        server.update(edited)
        if edited:
            self.memory[key] = dict(server)
        self.seen[key] = {**(server if edited else base), **mine}
        return 0

    def save(self, key, mine, write):
        expected = self.expect(key, mine)
        assert errno_of(write) == expected, self.room.errors().splitlines()[-1:]

    # What programs do

    def make(self, fields):
        path = self.room.drive / "sessions" / f"new-{next(_numbers)}.json"
        path.write_text(json.dumps({"subject": SUBJECT, "n_trials": 1, **fields}))
        document = json.loads(path.read_bytes())
        key = document["url"].rsplit("/", 1)[-1]
        self.server[key] = {field: document[field] for field in FIELDS}
        self.memory[key] = dict(self.server[key])
        self.seen[key] = dict(self.server[key])
        assert path.name not in os.listdir(path.parent)
        assert f"{key}.json" in os.listdir(path.parent)

    @precondition(lambda self: len(self.server) < 5)
    @rule(fields=EDITS)
    def create(self, fields):
        self.make(fields)

    @rule(index=INDEX)
    def look(self, index):
        self.read(self.key(index))

    @rule(index=INDEX, mine=EDITS)
    def overwrite_with_some_fields(self, index, mine):
        key = self.key(index)
        self.save(key, mine, lambda: self.path(key).write_text(json.dumps(mine)))

    @rule(index=INDEX, mine=EDITS, in_place=st.booleans())
    def edit_the_whole_record(self, index, mine, in_place):
        key = self.key(index)
        content = json.dumps({**self.read(key), **mine}).encode()
        mine = {**self.seen[key], **mine}

        def write():
            with open(self.path(key), "r+b" if in_place else "wb") as file:
                file.write(content)
                file.truncate()

        self.save(key, mine, write)

    @rule(index=INDEX, mine=EDITS, whole=st.booleans())
    def rename_a_scratch_file_over_it(self, index, mine, whole):
        key = self.key(index)
        document = {**self.read(key), **mine} if whole else mine
        scratch = self.path(key).with_name(f".scratch-{next(_numbers)}")
        scratch.write_text(json.dumps(document))
        mine = {**self.seen[key], **mine} if whole else mine
        self.save(key, mine, lambda: os.replace(scratch, self.path(key)))
        scratch.unlink(missing_ok=True)

    @rule(index=INDEX, mine=EDITS)
    def save_as_editors_with_backups_do(self, index, mine):
        key = self.key(index)
        path = self.path(key)
        document = {**self.read(key), **mine}
        os.rename(path, f"{path}~")
        assert not path.exists()
        self.save(key, {**self.seen[key], **mine}, lambda: path.write_text(json.dumps(document)))
        os.unlink(f"{path}~")
        assert path.exists()

    @rule(index=INDEX, mine=EDITS)
    def unlink_and_make_anew(self, index, mine):
        key = self.key(index)
        document = {**self.read(key), **mine}
        os.unlink(self.path(key))
        self.save(key, {**self.seen[key], **mine}, lambda: self.path(key).write_text(json.dumps(document)))

    @rule(index=INDEX, size=st.integers(0, 20))
    def truncate(self, index, size):
        key = self.key(index)
        self.read(key)
        with contextlib.suppress(OSError), open(self.path(key), "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    @rule(index=INDEX, text=st.sampled_from(["\n", "  ", "}", "x"]))
    def append(self, index, text):
        key = self.key(index)
        self.read(key)

        def write():
            with open(self.path(key), "a") as file:
                file.write(text)

        assert errno_of(write) == (0 if text.isspace() else errno.EIO)

    @rule(index=INDEX, field=st.sampled_from(["nonsense", "url", "n_trialz"]))
    def write_nonsense(self, index, field):
        key = self.key(index)
        path = self.path(key)
        self.memory.setdefault(key, dict(self.server[key]))
        with pytest.raises(OSError, match="Input/output error"):
            path.write_text(json.dumps({field: "x", "narrative": "never"}))

    @precondition(lambda self: len(self.server) > 1)
    @rule(index=INDEX)
    def remove(self, index):
        key = self.key(index)
        with called("rm"):
            os.unlink(self.path(key))
        for known in (self.server, self.memory, self.seen):
            known.pop(key, None)
        assert not self.path(key).exists()

    @rule(index=INDEX, theirs=EDITS, told=st.booleans())
    def somebody_else_changes_it(self, index, theirs, told):
        key = self.key(index)
        if theirs:
            self.room.asking.send("PATCH", f"/sessions/{key}", theirs)
            self.server[key].update(theirs)
        if told:
            self.room.command("refresh", path=f"sessions/{key}.json")
            self.memory.pop(key, None)

    def teardown(self):
        try:
            self.compare_all()
            Records.whole_runs += self.steps >= STEPS
        finally:
            for key in self.server:  # a listing that grew with each run would make each run slower
                self.room.asking.send("DELETE", f"/sessions/{key}")
            self.room.command("refresh", path="sessions")

    def compare_all(self):
        """The server holds what it should, the drive shows that once told to look, and nothing else lies about."""
        self.room.command("refresh", path="sessions")
        for key, fields in self.server.items():
            record = self.room.record("sessions", key)
            assert {field: record[field] for field in FIELDS} == fields
            assert self.path(key).read_bytes() == shown(record)
        names = os.listdir(self.room.drive / "sessions")
        assert [name for name in names if not name.endswith(".json") or name[0] == "."] == []
        assert {f"{key}.json" for key in self.server} == set(names) - self.there_before


@contextlib.contextmanager
def small_library(demo_directory, home):
    """A drive of the demo with one subject and its 7 sessions, so that a listing costs little."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        asking = Asking(demo.url)
        for endpoint, kept in (("labs", LAB), ("subjects", SUBJECT)):
            for row in asking.rows(f"/{endpoint}"):
                name = row.get("nickname", row.get("name"))
                if name != kept:
                    asking.send("DELETE", f"/{endpoint}/{urllib.parse.quote(name, safe='')}")
        with writing(demo, home, "--deletes-per-minute", "100000") as room:
            yield room


def run_until(runs, number):
    """Until so many runs came to their end, which hypothesis may take before."""
    while runs > Records.whole_runs:
        run_state_machine_as_test(
            Records if ON_REQUEST else seed(number)(Records),
            settings=settings(
                max_examples=runs - Records.whole_runs,
                stateful_step_count=STEPS + 1,  # the beginning counts as one
                database=None,
                phases=set(Phase) if ON_REQUEST else {Phase.generate},
                suppress_health_check=list(HealthCheck),
            ),
        )
        number += 1000


def agree(demo_directory, home, number):
    """Random operations from this seed; they must have been as many as they claim to be, and of all kinds.

    ``ALYXFS_MODEL_SEED`` gives half of the runs another seed: a number, or ``new`` for one that is drawn and told.
    """
    asked = os.environ.get("ALYXFS_MODEL_SEED", str(number))
    new = random.SystemRandom().randrange(1 << 32) if asked == "new" else int(asked)
    print(f"seeds {number} and {new}: ALYXFS_MODEL_SEED={new} repeats them")
    with small_library(demo_directory, home) as room:
        Records.room, Records.there_before = room, set(os.listdir(room.drive / "sessions"))
        Records.whole_runs = 0
        for first, runs in ((number, RUNS if new == number else RUNS // 2), (new, RUNS)):
            run_until(runs, first)
        ends = Counter(entry["state"] for entry in room.log())
        sent = Counter(method for method, _ in room.writes())
        print(f"{Records.whole_runs} runs of {STEPS} steps; journalled: {dict(ends)}; sent: {dict(sent)}")
        assert ends.keys() == {"done", "refused", "conflict"}
        assert ends["done"] > 10 * RUNS
        assert sent["PATCH"] > 5 * RUNS
        assert min(sent["POST"], sent["DELETE"]) > 2 * RUNS
