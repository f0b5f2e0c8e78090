"""Random operations on the drive and on a dictionary agree (hypothesis, stateful)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from writing import writing

FULL = bool(os.environ.get("ALYXFS_FULL_TESTS"))
RUNS = 100 if FULL else 10
"""Runs of 50 steps; 100 take some minutes on two cores, so that only ALYXFS_FULL_TESTS asks for them, and for shrinking
what fails, which takes longer still."""
STEPS = 50

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

    def __init__(self):
        super().__init__()
        self.server, self.memory, self.seen = {}, {}, {}

    @initialize()
    def begin(self):
        for _ in range(2):
            self.make({"narrative": "begun"})

    def key(self, index):
        return sorted(self.server)[index % len(self.server)]

    def path(self, key):
        return self.room.file("sessions", key)

    def read(self, key):
        """Read the file; it must show what the drive has fetched last."""
        document = json.loads(self.path(key).read_bytes())
        shown = {field: document[field] for field in FIELDS}
        self.memory.setdefault(key, dict(self.server[key]))
        assert shown == self.memory[key]
        self.seen[key] = shown
        return document

    def expect(self, key, mine):
        """Whether a save succeeds, and what is true after it."""
        server = self.server[key]
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
        path.write_text(json.dumps({"subject": "KS004", "n_trials": 1, **fields}))
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

        assert errno_of(write) == (0 if text.isspace() else errno.EINVAL)

    @rule(index=INDEX, field=st.sampled_from(["nonsense", "url", "n_trialz"]))
    def write_nonsense(self, index, field):
        path = self.path(self.key(index))
        with pytest.raises(OSError, match="Invalid argument"):
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
            self.room.order("refresh", path=f"sessions/{key}.json")
            self.memory.pop(key, None)

    def teardown(self):
        for key, fields in self.server.items():
            record = self.room.record("sessions", key)
            assert {field: record[field] for field in FIELDS} == fields
            self.room.order("refresh", path=f"sessions/{key}.json")
            assert self.path(key).read_bytes() == self.room.shown("sessions", key)
        rest = [
            name for name in os.listdir(self.room.drive / "sessions") if not name.endswith(".json") or name[0] == "."
        ]
        assert rest == []


@pytest.mark.timeout(1800)
def test_the_drive_and_a_dictionary_agree(changing, tmp_path):
    with writing(changing, tmp_path / "home", "--deletes-per-minute", "100000") as room:
        Records.room = room
        run_state_machine_as_test(
            Records,
            settings=settings(
                max_examples=RUNS,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=not FULL,
                phases=set(Phase) if FULL else {Phase.generate},
                suppress_health_check=list(HealthCheck),
            ),
        )
        sent = [method for method, _ in room.writes()]
        print(f"{RUNS} runs of {STEPS} steps: {len(room.log())} writes journalled, {len(sent)} requests that write")
