"""New records by name: one that is written twice makes two, changes one, or is refused, and never mixes them up."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from program_calls import programs
from writing import in_terminal, run, writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("new_names") / "home") as room:
        yield room


def made(room, endpoint, count):
    """The last records that were made, by the journal; each as the server has it."""
    keys = [entry["record"].split("/")[1] for entry in room.log() if entry["operation"] == "create"][-count:]
    return [room.record(endpoint, key) for key in keys]


def test_a_loop_of_a_shell_makes_a_record_each_time(room):
    line = """for s in KS001 KS004; do
        echo '{"subject": "'$s'", "water_administered": 1.5}' > water-administrations/new.json
    done"""
    run("bash", "-c", line, cwd=room.drive.path)
    assert [each["subject"] for each in made(room, "water-administrations", 2)] == ["KS001", "KS004"]
    path = room.drive / "water-administrations" / "new.json"
    assert json.loads(path.read_bytes())["subject"] == "KS004", "the name leads to the newest"


def test_the_second_day_of_a_name_is_another_record(room):
    """Weighings cannot be changed: what is written to the name again is another one, by whatever program."""
    (room.home / "tuesday.json").write_text('{"subject": "KS001", "weight": 24.25}')
    (room.home / "wednesday.json").write_text('{"subject": "KS001", "weight": 24.5}')
    room.demo.clear_requests()
    line = """echo '{"subject": "KS001", "weight": 24}' > weighings/today.json
        cp ~/tuesday.json weighings/today.json
        mv ~/wednesday.json weighings/today.json"""
    run("bash", "-c", line, cwd=room.drive.path, env={**os.environ, "HOME": str(room.home)})
    assert [each["weight"] for each in made(room, "weighings", 3)] == [24, 24.25, 24.5]
    assert room.writes() == [("POST", "/weighings")] * 3


def test_a_part_of_a_record_changes_the_one_that_was_made(room):
    path = room.drive / "water-administrations" / "part.json"
    path.write_text('{"subject": "KS004", "water_administered": 1.5}')
    count = len(room.log())
    path.write_text('{"water_administered": 1.75}')
    run("sed", "-i", "s/1.75/2.25/", path)
    (record,) = made(room, "water-administrations", 1)
    assert record["water_administered"] == 2.25
    assert [entry["operation"] for entry in room.log()[count:]] == ["save", "save"]


FIRST = '{"subject": "KS001", "water_administered": 1.5}'
SECOND = FIRST.replace("1.5", "1.25")

SAVES = """
import os, sys
path, first, second, way = sys.argv[1:]
for number, text in enumerate((first, second)):
    target = path + ".tmp" if "rename" in way else path
    with open(target, "w") as file:
        file.write(text)
        file.flush()
        if "fsync" in way:
            os.fsync(file.fileno())
    if "rename" in way:
        os.rename(target, path)
    if "read" in way and number == 0:
        open(path).read()
"""
"""A program that saves a new name twice; what it is called is up to who starts it."""

ANOTHER = ["POST", "POST"], [1.5, 1.25]
SAME = ["POST", "PATCH"], [1.25]
REFUSED = ["POST"], [1.5]
"""The requests, and what the records that were made hold in the end."""
MEANINGS = [
    ("bash", "close", ANOTHER),
    ("python3", "close", ANOTHER),
    ("python3", "fsync", REFUSED),
    ("python3", "rename", REFUSED),
    ("vim.basic", "fsync", SAME),
    ("vim.basic", "fsync, read", SAME),
    ("nano", "close", SAME),
    ("code", "fsync", SAME),
    ("code", "fsync, read", REFUSED),
    ("gedit", "rename", SAME),
    ("emacs-nox", "close", SAME),
    ("daq", "close", REFUSED),
    ("daq", "fsync", REFUSED),
]


@pytest.mark.parametrize(("program", "way", "comes"), MEANINGS, ids=[f"{name}: {way}" for name, way, _ in MEANINGS])
def test_a_whole_record_again_under_the_name_of_a_new_one(room, tmp_path, program, way, comes):
    """An editor means the record that it made, a loop another one; where nobody can tell, the second is refused."""
    called = tmp_path / program
    called.symlink_to(sys.executable)
    path = room.drive / "water-administrations" / f"{program}-{way.replace(', ', '-')}.json"
    room.demo.clear_requests()
    done = subprocess.run(
        [called, "-S", "-c", SAVES, path, FIRST, SECOND, way], capture_output=True, text=True, timeout=60, check=False
    )
    path.with_name(f"{path.name}.tmp").unlink(missing_ok=True)
    writes, amounts = comes
    assert [method for method, _ in room.writes()] == writes
    last = made(room, "water-administrations", writes.count("POST"))
    assert [each["water_administered"] for each in last] == amounts
    assert ("OSError" in done.stderr or "PermissionError" in done.stderr) == (comes == REFUSED), done.stderr
    if comes == REFUSED:
        assert "read the file again" in room.errors().splitlines()[-1]
        assert SECOND in room.rejected().values()


def test_a_refused_editor_that_reads_the_file_again_can_save_it(room):
    path = room.drive / "water-administrations" / "edited.json"
    room.demo.clear_requests()
    with programs(1) as (editor,):
        for number in (0, errno.EIO):
            file = editor("open", path, ["O_WRONLY", "O_CREAT", "O_TRUNC"])
            editor("write", file, FIRST)
            assert editor.errno("fsync", file) == editor.errno("close", file) == number
        whole = editor("cat", path)
        file = editor("open", path, ["O_WRONLY", "O_TRUNC"])
        editor("write", file, whole.replace("1.5", "1.25"))
        assert editor.errno("fsync", file) == editor.errno("close", file) == 0
    assert [method for method, _ in room.writes()] == ["POST", "PATCH"]
    assert made(room, "water-administrations", 1)[0]["water_administered"] == 1.25


def vim(path, *options):
    return in_terminal("vim", "-u", "NONE", "-N", *options, str(path), keys=f"i{FIRST}\x1b:w\r:s/1.5/1.25/\r:w\r:q!\r")


def nano(path):
    keys = f"{FIRST}\x0f\r\x1c1.5\r1.25\ra\x0f\r\x18"
    return in_terminal("nano", "--ignorercfiles", str(path), keys=keys)


@pytest.mark.parametrize("editor", [vim, nano], ids=["vim", "nano"])
def test_real_editors_save_a_new_record_again(room, editor):
    path = room.drive / "water-administrations" / f"real-{editor.__name__}.json"
    room.demo.clear_requests()
    seen = editor(path, "--cmd", "set backupskip=") if editor is vim else editor(path)
    assert [method for method, _ in room.writes()] == SAME[0], seen
    assert made(room, "water-administrations", 1)[0]["water_administered"] == 1.25


def test_vim_shows_that_a_weighing_cannot_be_changed(room):
    path = room.drive / "weighings" / "vim.json"
    text = '{"subject": "KS001", "weight": 24.5}'
    seen = in_terminal("vim", "-u", "NONE", "-N", str(path), keys=f"i{text}\x1b:w\r:s/24.5/25/\r:w\r:q!\r")
    assert "E512: Close failed" in seen or "E667: Fsync failed" in seen, seen
    assert made(room, "weighings", 1)[0]["weight"] == 24.5
    assert "cannot be changed" in room.errors().splitlines()[-1]


def test_several_saves_of_one_open_file_are_one_record(room):
    path = room.drive / "water-administrations" / "kept-open.json"
    room.demo.clear_requests()
    with programs(1) as (program,):
        file = program("open", path, ["O_RDWR", "O_CREAT", "O_TRUNC"])
        for value in ("1.5", "1.7"):
            program("pwrite", file, f'{{"subject": "KS001", "water_administered": {value}}}', 0)
            assert program.errno("fsync", file) == 0
        assert program.errno("close", file) == 0
    assert [method for method, _ in room.writes()] == ["POST", "PATCH"]


def test_two_programs_that_make_one_name_make_two_records(room):
    path = room.drive / "water-administrations" / "both.json"
    room.demo.clear_requests()
    with programs(2) as both:
        files = [program("open", path, ["O_WRONLY", "O_CREAT", "O_TRUNC"]) for program in both]
        for number, (program, file) in enumerate(zip(both, files, strict=True)):
            program("write", file, f'{{"subject": "KS001", "water_administered": {number}.5')
        for program, file in zip(both, files, strict=True):
            program("write", file, "}")
            assert program.errno("close", file) == 0
    assert sorted(each["water_administered"] for each in made(room, "water-administrations", 2)) == [0.5, 1.5]
    assert room.writes() == [("POST", "/water-administrations")] * 2


def test_what_is_refused_stays_under_its_name_for_everybody(room):
    path = room.drive / "water-administrations" / "refused.json"
    with programs(2) as (writer, other):
        file = writer("open", path, ["O_WRONLY", "O_CREAT", "O_TRUNC"])
        writer("write", file, '{"water_administered": 1.5}')
        assert other("cat", path) == "", "nothing of it is saved yet"
        assert writer.errno("close", file) == errno.EIO
        assert other("cat", path) == '{"water_administered": 1.5}'
        assert path.name in os.listdir(path.parent)
        run("sed", "-i", 's/{/{"subject": "KS001", /', path)
        assert path.name not in os.listdir(path.parent)
    assert made(room, "water-administrations", 1)[0]["subject"] == "KS001"


def test_a_new_record_that_the_user_may_not_make_stays_in_the_directory(changing, home):
    user = {"ALYXFS_USER": changing.public_user, "ALYXFS_PASSWORD": changing.public_password}
    with writing(changing, home, **user) as room, programs(1) as (program,):
        path = room.drive / "water-administrations" / "refused.json"
        file = program("open", path, ["O_WRONLY", "O_CREAT", "O_TRUNC"])
        program("write", file, text := '{"subject": "KS001", "water_administered": 1.5}')
        assert program.errno("close", file) == errno.EACCES
        assert path.read_text() == text
        assert path.name in os.listdir(path.parent)
        assert text in room.rejected().values()


def test_a_directory_that_is_read_again_from_its_beginning_shows_what_is_there_now(room):
    descriptor = os.open(room.drive / "notes", os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = os.listdir(descriptor)  # which rewinds it
        (room.drive / "notes" / ".scratch").write_text("new")
        assert set(os.listdir(descriptor)) - set(before) == {".scratch"}
        (room.drive / "notes" / ".scratch").unlink()
        assert os.listdir(descriptor) == before
    finally:
        os.close(descriptor)
