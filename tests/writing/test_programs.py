"""Random programs with random handles on two drives, and a writer outside: the database judges what they were told.

At the end every value that was acknowledged stands in the database, or was replaced by a later acknowledged one whose
writer had read it. What was refused is kept.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field

import pytest

from mounted import mounted
from program_calls import programs
from writing import FAST, until, writing

RUNS = int(os.environ.get("ALYXFS_MODEL_RUNS", "1"))
STEPS = 150
PROGRAMS = 4
"""Two on each drive."""
SLOTS = ("narrative", "json.a", "json.b")


def value_of(document, slot):
    name, _, key = slot.partition(".")
    return (document[name] or {}).get(key) if key else document[name]


def changed(document, slot, value):
    name, _, key = slot.partition(".")
    return {**document, name: {**(document[name] or {}), key: value} if key else value}


@dataclass
class Handle:
    """An open file of a program."""

    program: int
    record: str
    descriptor: int
    base: dict
    """What the program believes the record to be."""
    document: dict | None = None
    """What it has written and not saved; None where it has written nothing, or half of it."""
    text: str = ""


@dataclass
class World:
    """What happens, and what was told."""

    room: object
    second: object
    random: random.Random
    programs: list
    records: list
    handles: list = field(default_factory=list)
    seen: dict = field(default_factory=dict)
    """By program and record: what it read or saved last."""
    told: list = field(default_factory=list)
    """Acknowledged: record, slot, the value before, as its writer had read it, and the new one."""
    refused: list = field(default_factory=list)
    """Texts that were refused, or closed half-written."""
    story: list = field(default_factory=list)
    number: int = 0

    def path(self, program, record):
        return (self.room.drive if program % 2 else self.second) / "sessions" / f"{record}.json"

    def a_program(self):
        return self.random.randrange(len(self.programs))

    def a_record(self):
        return self.random.choice(self.records)

    def new_value(self):
        self.number += 1
        return f"value {self.number}"

    # What programs do

    def read(self):
        program, record = self.a_program(), self.a_record()
        if any((each.program, each.record) == (program, record) for each in self.handles):
            return  # it would read its own draft
        self.seen[program, record] = json.loads(self.programs[program]("cat", self.path(program, record)))
        self.story.append(("read", program, record))

    def open(self):
        program, record = self.a_program(), self.a_record()
        if any((each.program, each.record) == (program, record) for each in self.handles):
            return
        is_emptied = (program, record) in self.seen and self.random.random() < 0.5
        flags = ["O_RDWR", "O_TRUNC"] if is_emptied else ["O_RDWR"]
        descriptor = self.programs[program]("open", self.path(program, record), flags)
        text = self.programs[program]("read", descriptor)
        if is_emptied:
            assert text == ""
        else:
            self.seen[program, record] = json.loads(text)
        self.handles.append(Handle(program, record, descriptor, self.seen[program, record]))
        self.story.append(("open", program, record, flags))

    def write(self):
        if not self.handles:
            return
        handle = self.random.choice(self.handles)
        program = self.programs[handle.program]
        slot, value = self.random.choice(SLOTS), self.new_value()
        handle.document = changed(handle.document or handle.base, slot, value)
        handle.text = json.dumps(handle.document)
        program("ftruncate", handle.descriptor, 0)
        if self.random.random() < 0.2:
            handle.document, handle.text = None, handle.text[: self.random.randrange(1, len(handle.text) - 1)]
        program("pwrite", handle.descriptor, handle.text, 0)
        assert program("read", handle.descriptor) == handle.text, "a program sees its own bytes"
        assert program("size", handle.descriptor) == len(handle.text)
        self.story.append(("write", handle.program, handle.record, slot, value))

    def save(self):
        """By fsync, by closing a duplicate, or by closing it for good."""
        if not self.handles:
            return
        handle = self.random.choice(self.handles)
        how = self.random.choice(["fsync", "flush", "close"])
        program = self.programs[handle.program]
        if how == "flush":
            number = program.errno("close", program("dup", handle.descriptor))
        else:
            number = program.errno(how, handle.descriptor)
        self.story.append((how, handle.program, handle.record, number))
        if handle.document is None:
            assert not number or handle.text, "who wrote nothing is refused nothing"
        elif number:
            self.refused.append(handle.text)
        else:
            self.acknowledged(handle.record, handle.base, handle.document)
            handle.base, handle.document, handle.text = handle.document, None, ""
            self.seen[handle.program, handle.record] = handle.base
        if how == "close":
            self.handles.remove(handle)
            if handle.text:
                self.refused.append(handle.text)
                self.seen.pop((handle.program, handle.record), None)

    def replace(self):
        """Save through a scratch file, as editors do."""
        program, record = self.a_program(), self.a_record()
        if (program, record) not in self.seen:
            return
        base = self.seen[program, record]
        document = changed(base, self.random.choice(SLOTS), self.new_value())
        path = self.path(program, record)
        self.number += 1
        scratch = path.with_name(f".scratch-{program}-{self.number}")
        self.programs[program]("save", scratch, json.dumps(document))
        number = self.programs[program].errno("replace", str(scratch), str(path))
        self.story.append(("replace", program, record, number))
        if number:
            self.refused.append(json.dumps(document))
            self.programs[program]("unlink", str(scratch))
        else:
            self.acknowledged(record, base, document)
            self.seen[program, record] = document

    def write_outside(self):
        record = self.a_record()
        base = self.room.record("sessions", record)
        document = changed(base, self.random.choice(SLOTS), self.new_value())
        name = next(name for name in ("narrative", "json") if document[name] != base[name])
        self.room.asking.send("PATCH", f"/sessions/{record}", {name: document[name]})
        self.acknowledged(record, base, document)
        self.story.append(("outside", record, name))

    def look_again(self):
        self.room.command("refresh", path="sessions")

    def acknowledged(self, record, base, document):
        for slot in SLOTS:
            before, after = value_of(base, slot), value_of(document, slot)
            if before != after:
                self.told.append((record, slot, before, after))

    # The judge

    def end(self):
        while self.handles:
            self.save()
        for record in self.records:
            truth = self.room.record("sessions", record)
            for slot in SLOTS:
                told = [each[2:] for each in self.told if each[:2] == (record, slot)]
                replaced = {before for before, _ in told}
                lost = [after for _, after in told if after != value_of(truth, slot) and after not in replaced]
                assert not lost, (record, slot, value_of(truth, slot), told, self.story)
        kept = {path.read_text() for path in self.room.home.parent.rglob("rejected/*.json")}
        until(lambda: self.all_kept(), "all that was refused is kept")
        return kept

    def all_kept(self):
        kept = {path.read_text() for path in self.room.home.parent.rglob("rejected/*.json")}
        return all(text in kept for text in self.refused)


ACTIONS = (
    [World.read] * 3 + [World.open] * 3 + [World.write] * 5 + [World.save] * 5 + [World.replace] * 2
    + [World.write_outside, World.look_again]
)  # fmt: skip


@pytest.mark.timeout(120 + 20 * RUNS)
def test_what_programs_are_told_is_true(changing, tmp_path):
    with (
        writing(changing, tmp_path / "one") as room,
        mounted(changing.url, tmp_path / "two", "--rw", *FAST) as second,
    ):
        acknowledged = refused = 0
        for number in range(RUNS):
            is_kept = not {"ALYXFS_MODEL_RUNS", "ALYXFS_MODEL_SEED"} & os.environ.keys()
            seed = number if is_kept else random.randrange(1 << 32)
            with programs(PROGRAMS) as all_programs:
                records = [
                    room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
                    for _ in range(2)
                ]
                world = World(room, second, random.Random(seed), all_programs, records)
                print(f"seed {seed}")
                for _ in range(STEPS):
                    world.random.choice(ACTIONS)(world)
                world.end()
                acknowledged += len(world.told)
                refused += len(world.refused)
        print(f"{RUNS} runs of {STEPS} steps: {acknowledged} values acknowledged, {refused} texts refused and kept")
        assert acknowledged > 5 * RUNS
        assert refused > RUNS
