"""A slow record: no operation takes longer than the deadline, and what was sent by then is followed to its end."""

from __future__ import annotations

import errno
import os
import time

from program_calls import programs
from writing import until, writing

DEADLINE = 3.0
BOUND = DEADLINE + 5 + 2 + 2
"""Seconds: 5 so that a request's own error is the one told, 2 to keep a draft, 2 for a busy machine."""


def test_saves_that_wait_for_each_other_end_in_time(changing, home):
    """Each request takes nearly the deadline, and the saves of one record take turns."""
    with writing(changing, home, "--deadline", f"{DEADLINE:g}") as room, programs(3) as three:
        session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
        path = room.file("sessions", session)
        room.demo.control(delay={"seconds": 0.9 * DEADLINE, "path_prefix": "/sessions", "count": 1000})
        files = [program("open", path, ["O_WRONLY", "O_TRUNC"]) for program in three]
        texts = [f'{{"{name}": {value}}}' for name, value in (("narrative", '"x"'), ("n_trials", 3), ("number", 4))]
        for program, file, text in zip(three, files, texts, strict=True):
            program("write", file, text)
        began = time.monotonic()
        for program, file in zip(three, files, strict=True):
            program.begin("close", file)  # the kernel lets one program at a time sync a file
        ends = []
        for program in three:
            ends.append(program.answer().get("errno", 0))
            assert time.monotonic() - began < BOUND
        room.demo.control(reset=True)
        assert set(ends) <= {0, errno.ETIMEDOUT}
        assert ends.count(0) < len(ends), "they cannot all be done in time"
        until(lambda: not [each for each in room.log() if each["state"] in {"prepared", "sent"}], "all have ended")
        record = room.record("sessions", session)
        values = (record["narrative"] == "x", record["n_trials"] == 3, record["number"] == 4)
        for text, end, is_saved in zip(texts, ends, values, strict=True):
            assert is_saved or end, "who is told of success is told the truth"
            assert is_saved or text in room.rejected().values(), "what was not saved is kept"


def test_a_save_that_ends_after_its_program_was_told_is_told_of(changing, home):
    """Looks and save take longer together than the deadline, though each is answered in time."""
    with writing(changing, home, "--deadline", f"{DEADLINE:g}") as room, programs(1) as (program,):
        session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
        path = room.file("sessions", session)
        file = program("open", path, ["O_WRONLY", "O_TRUNC"])
        program("write", file, '{"narrative": "late"}')
        room.demo.control(delay={"seconds": 0.9 * DEADLINE, "path_prefix": "/sessions", "count": 1000})
        began = time.monotonic()
        end = program.errno("fsync", file)
        assert time.monotonic() - began < BOUND
        assert end in {0, errno.ETIMEDOUT}
        until(lambda: room.log()[-1]["state"] == "done", "it is done, in time or not")
        room.demo.control(reset=True)
        assert room.record("sessions", session)["narrative"] == "late"


HELD = 3.0
"""Seconds for which the server keeps its answer."""


def test_what_waits_for_the_server_holds_up_as_little_as_the_kernel_allows(changing, home):
    """The kernel holds a directory during a rename in it; names that it knows already are found all the same."""
    with writing(changing, home) as room, programs(2) as (slow, other):
        directory = room.drive / "sessions"
        one, two = (
            room.file("sessions", room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"])
            for _ in range(2)
        )
        os.listdir(directory)
        for path in (one, two):
            assert path.read_bytes()

        def goes_on(method, call, *others):
            room.demo.control(delay={"seconds": HELD, "method": method, "path_prefix": "/sessions"})
            began = time.monotonic()
            slow.begin(*call)
            until(lambda: "sent" in [entry["state"] for entry in room.log()], "it waits")
            for each in others:
                assert other.errno(*each) == 0, each
            assert time.monotonic() - began < HELD, "they did not wait"
            slow.end()
            assert time.monotonic() - began > HELD

        (directory / ".new").write_text('{"narrative": "renamed over it"}')
        elsewhere = ("save", two, '{"narrative": "of another"}')
        goes_on("PATCH", ("rename", directory / ".new", one), ("cat", two), ("stat", two), ("listdir", room.drive.path))
        new = '{"subject": "KS001", "lab": "cortexlab"}'
        goes_on("POST", ("save", directory / "new.json", new), ("cat", two), ("listdir", directory), elsewhere)
