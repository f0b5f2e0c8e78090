"""Open files that are written in every order, by several programs; files that never leave this machine."""

from __future__ import annotations

import errno
import json
import mmap
import os
import subprocess
import sys

import pytest

from asking import Asking
from program_calls import programs
from writing import run, until, writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("drafts") / "home") as room:
        yield room


@pytest.fixture
def session(room):
    session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab", "narrative": "first"})[
        "id"
    ]
    room.demo.clear_requests()
    return session


@pytest.fixture
def path(room, session):
    return room.file("sessions", session)


def saved(room, session, narrative, writes=1):
    """The narrative is saved, by so many requests, and shown."""
    assert room.record("sessions", session)["narrative"] == narrative
    assert room.writes() == [("PATCH", f"/sessions/{session}")] * writes
    assert room.file("sessions", session).read_bytes() == room.shown("sessions", session)


def text(narrative):
    return json.dumps({"narrative": narrative}).encode()


def test_an_emptied_file_changes_nothing(room, session, path):
    run("truncate", "-s", "0", path)
    with open(path, "w"):
        pass
    run("bash", "-c", f": > {path}")
    assert path.read_bytes() == room.shown("sessions", session)
    assert room.writes() == []


def test_touch_and_chmod_do_nothing(room, session, path):
    run("touch", path)
    run("chmod", "600", path)
    run("touch", "-d", "2001-01-01", path)
    assert room.writes() == []
    run("touch", path.parent / "untitled.json")
    assert (path.parent / "untitled.json").read_bytes() == b""
    run("rm", path.parent / "untitled.json")
    assert room.writes() == []


def test_a_file_cut_by_name_is_refused(room, session, path):
    with pytest.raises(OSError) as refusal:  # noqa: PT011 - the errno is what counts
        os.truncate(path, 10)
    assert refusal.value.errno == errno.EINVAL
    assert room.writes() == []
    assert path.read_bytes() == room.shown("sessions", session)


def test_duplicates_closed_early_send_nothing_twice(room, session, path):
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.close(os.dup(descriptor))
    os.write(descriptor, text("a")[:5])
    os.close(os.dup(descriptor))
    os.write(descriptor, text("a")[5:])
    os.fsync(descriptor)
    os.close(os.dup(descriptor))
    os.close(descriptor)
    saved(room, session, "a")


def test_a_child_that_inherits_the_file(room, session, path):
    with open(path, "wb") as file:
        file.write(text("b")[:9])
        file.flush()
        subprocess.run([sys.executable, "-c", "print(end='')"], stdout=file, check=True)
        subprocess.run(["printf", "%s", text("b")[9:].decode()], stdout=file, check=True)
    saved(room, session, "b")


def test_several_saves_of_one_open_file(room, session, path):
    with open(path, "r+b", buffering=0) as file:
        for narrative in ("one", "three", "two"):
            file.seek(0)
            file.truncate()
            file.write(text(narrative))
            os.fsync(file.fileno())
            assert room.record("sessions", session)["narrative"] == narrative
            file.seek(0)
            assert file.read() == text(narrative)
    saved(room, session, "two", writes=3)


def test_holes_and_writes_from_the_end(room, session, path):
    content = text("backwards")
    descriptor = os.open(path, os.O_RDWR | os.O_TRUNC)
    os.pwrite(descriptor, content[15:], 15)
    assert os.pread(descriptor, 100, 0) == bytes(15) + content[15:]
    os.close(os.dup(descriptor))
    os.pwrite(descriptor, content[:15], 0)
    os.close(descriptor)
    saved(room, session, "backwards")


def test_growing_by_truncate(room, session, path):
    descriptor = os.open(path, os.O_RDWR | os.O_TRUNC)
    os.write(descriptor, text("grown"))
    os.ftruncate(descriptor, 100)
    assert os.fstat(descriptor).st_size == 100
    assert os.pread(descriptor, 100, 0) == text("grown") + bytes(100 - len(text("grown")))
    os.ftruncate(descriptor, len(text("grown")))
    os.close(descriptor)
    saved(room, session, "grown")


def test_appending_goes_to_the_end_of_a_record_whose_size_was_an_estimate(room, session, path):
    room.command("refresh", path="sessions")
    os.listdir(path.parent)
    assert path.stat().st_size != len(room.shown("sessions", session)), "an estimate, for this test to mean something"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    os.write(descriptor, b"\n\n")
    assert os.pread(descriptor, 1 << 16, 0) == room.shown("sessions", session) + b"\n\n"
    os.close(descriptor)
    assert room.writes() == [], "blank lines are no change"
    with programs(1) as (program,):
        file = program("open", path, ["O_WRONLY", "O_APPEND"])
        program("write", file, "}")
        assert program.errno("fsync", file) == errno.EIO
        assert program.errno("close", file) == errno.EIO, "VS Code passes over errors of fsync"


def test_a_shared_mapping(room, session, path):
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        view = mmap.mmap(file.fileno(), size)
    start = view.find(b"first")
    view[start : start + 5] = b"mappd"
    view.flush()
    view.close()  # after the descriptor: this is the last close
    until(lambda: room.record("sessions", session)["narrative"] == "mappd", "the mapping is saved")
    until(lambda: path.read_bytes() == room.shown("sessions", session), "the record is shown as it is")
    assert room.writes() == [("PATCH", f"/sessions/{session}")]


def test_a_program_that_opens_a_record_twice_sees_its_own_bytes(room, session, path):
    with programs(1) as (program,):
        first = program("open", path, ["O_RDWR"])
        before = program("read", first)
        program("pwrite", first, before.replace('"first"', '"1st__"'), 0)
        second = program("open", path, ["O_RDWR"])
        assert program("read", second) == program("cat", path) == before.replace('"first"', '"1st__"')
        program("close", first)
        program("pwrite", second, program("read", second).replace('"1st__"', '"2nd__"'), 0)
        program("close", second)
    saved(room, session, "2nd__", writes=2)


def test_two_programs_each_see_their_own_bytes_and_their_saves_are_merged(room, session, path):
    with programs(3) as (first, second, reader):
        one, two = (program("open", path, ["O_RDWR"]) for program in (first, second))
        before = first("read", one)
        first("pwrite", one, before.replace('"first"', '"much longer"'), 0)
        second("pwrite", two, before.replace('"n_trials": null', '"n_trials": 12345'), 0)
        assert first("read", one) == first("cat", path) == before.replace('"first"', '"much longer"')
        assert second("read", two) == before.replace('"n_trials": null', '"n_trials": 12345')
        assert reader("cat", path) == before
        assert [program("stat", path) for program in (first, second, reader)] == [
            len(before) + len("much longer") - len("first"),
            len(before) + 1,
            len(before),
        ]
        assert first.errno("close", one) == second.errno("close", two) == 0
    assert room.record("sessions", session)["n_trials"] == 12345
    saved(room, session, "much longer", writes=2)


@pytest.mark.parametrize("reads", [False, True])
def test_what_is_written_without_reading_is_based_on_what_was_read_before(room, session, path, reads):
    """A program that opens the file without emptying it, and writes what it had in mind, knows of no newer values."""
    with programs(1) as (program,):
        document = json.loads(program("cat", path))
        room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "of another"})
        room.command("refresh", path=f"sessions/{session}.json")
        file = program("open", path, ["O_RDWR"])
        if reads:
            assert json.loads(program("read", file))["narrative"] == "of another"
        program("ftruncate", file, 0)
        program("pwrite", file, json.dumps({**document, "json": {"mine": 1}}), 0)
        assert program.errno("close", file) == 0
    record = room.record("sessions", session)
    assert record["json"] == {"mine": 1}
    assert record["narrative"] == ("first" if reads else "of another")


def test_two_programs_that_changed_one_field(room, session, path):
    """The second is told, at fsync and again at close; the first, which is saved, is not."""
    with programs(2) as (first, second):
        one, two = (program("open", path, ["O_RDWR"]) for program in (first, second))
        before = first("read", one)
        first("pwrite", one, before.replace('"first"', '"1st__"'), 0)
        second("pwrite", two, before.replace('"first"', '"2nd__"'), 0)
        assert first.errno("fsync", one) == 0
        assert second.errno("fsync", two) == errno.ESTALE
        assert first.errno("fsync", one) == first.errno("close", one) == 0
        assert second.errno("close", two) == errno.ESTALE
    saved(room, session, "1st__")


def test_a_refusal_is_told_to_who_wrote_and_to_nobody_else(room, session, path):
    """One program changes what another has changed on the server meanwhile; a third has the record open, and waits."""
    with programs(2) as (writer, bystander):
        one, two = (program("open", path, ["O_RDWR"]) for program in (writer, bystander))
        before = writer("read", one)
        room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "theirs"})
        writer("pwrite", one, before.replace('"first"', '"mine_"'), 0)
        assert bystander.errno("fsync", two) == bystander.errno("close", two) == 0
        assert [writer.errno(call, one) for call in ("fsync", "fsync", "close")] == [errno.ESTALE] * 3
        assert room.log()[-1]["state"] == "conflict"
        three = bystander("open", path, ["O_WRONLY", "O_TRUNC"])
        bystander("write", three, '{"n_trials": 3}')
        assert bystander.errno("close", three) == 0, "a later save does not inherit it"
    assert room.record("sessions", session)["narrative"] == "theirs"
    assert room.record("sessions", session)["n_trials"] == 3


def test_what_was_refused_is_saved_once_it_is_mended(room, session, path):
    with programs(1) as (program,):
        file = program("open", path, ["O_RDWR", "O_TRUNC"])
        program("write", file, '{"narative": "x"}')
        assert program.errno("fsync", file) == program.errno("fsync", file) == errno.EIO
        program("ftruncate", file, 0)
        program("pwrite", file, '{"narrative": "x"}', 0)
        assert program.errno("fsync", file) == program.errno("close", file) == 0
    saved(room, session, "x")


def test_an_emptied_record_is_whole_for_all_others(room, session, path):
    """A shell empties the file before the program that fills it has begun: nobody else may see that."""
    whole = room.shown("sessions", session).decode()
    with programs(2) as (writer, other):
        held = other("open", path, ["O_RDONLY"])
        file = writer("open", path, ["O_WRONLY", "O_TRUNC"])
        assert (writer("size", file), other("size", held), other("stat", path)) == (0, len(whole), len(whole))
        assert other("read", held) == other("cat", path) == whole
        writer("write", file, '{"narrative": "half')
        assert other("read", held) == other("cat", path) == whole
        document = json.loads(other("cat", path))
        other("save", path, json.dumps({**document, "json": {**(document["json"] or {}), "mine": 1}}))
        writer("write", file, '"}')
        assert writer.errno("close", file) == 0
    assert room.record("sessions", session)["json"] == {"mine": 1}
    saved(room, session, "half", writes=2)


def test_the_drafts_of_all_programs_are_kept_when_the_drive_ends(changing, home):
    session = Asking(changing.url).send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
    with writing(changing, home) as room, programs(3) as three:
        new = room.drive / "sessions" / "new.json"
        for number, program in enumerate(three):
            for path in (room.file("sessions", session), new):
                file = program("open", path, ["O_WRONLY", "O_TRUNC", "O_CREAT"])
                program("write", file, f'{{"narrative": "{number} of {path.name}')
        room.drive.process.terminate()
        room.drive.process.wait(30)
    with writing(changing, home) as room:
        kept = room.rejected().values()
        for number in range(3):
            for name in (f"{session}.json", "new.json"):
                assert f'{{"narrative": "{number} of {name}' in kept


def test_two_programs_that_changed_different_fields(room, session, path):
    mine, yours = json.loads(path.read_bytes()), json.loads(path.read_bytes())
    writer = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    for document in ({**mine, "narrative": "mine"}, {**yours, "n_trials": 5}):
        run(sys.executable, "-c", writer, path, json.dumps({key: document[key] for key in ("narrative", "n_trials")}))
    assert room.record("sessions", session)["n_trials"] == 5


def test_two_programs_that_empty_one_record_do_not_mix_their_bytes(room, session, path):
    other = "import sys, os; file = open(sys.argv[1], 'wb', 0); file.write(sys.argv[2].encode()); file.close()"
    with open(path, "wb", buffering=0) as file:
        file.write(text("mine, a long one")[:20])
        run(sys.executable, "-c", other, path, '{"n_trials": 3}')
        file.write(text("mine, a long one")[20:])
    assert room.record("sessions", session)["n_trials"] == 3
    saved(room, session, "mine, a long one", writes=2)


def test_a_rename_that_conflicts_is_tried_once(room, session, path):
    """Linux repeats a rename that fails with ESTALE; meanwhile others may have looked at the new version."""
    document = json.loads(path.read_bytes())
    (path.parent / "scratch").write_text(json.dumps({**document, "narrative": "mine"}))
    room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "theirs"})
    count = len(room.log())
    with pytest.raises(OSError) as refusal:  # noqa: PT011
        os.replace(path.parent / "scratch", path)
    assert refusal.value.errno == errno.ESTALE
    assert [entry["state"] for entry in room.log()[count:]] == ["conflict"]
    os.unlink(path.parent / "scratch")


def test_a_writer_reads_what_it_has_written(room, session, path):
    with open(path, "wb", buffering=0) as file:
        file.write(text("half")[:8])
        assert path.read_bytes() == text("half")[:8]
        assert path.stat().st_size == 8
        file.write(text("half")[8:])
        assert path.read_bytes() == text("half")
    saved(room, session, "half")


def test_a_reader_that_stays_does_not_hold_the_size(room, session, path):
    with open(path, "rb") as reader:
        reader.read()
        path.write_bytes(text("a longer narrative than the first one was, by far"))
        assert path.stat().st_size == len(room.shown("sessions", session))
        assert path.read_bytes() == room.shown("sessions", session)


def test_exclusive_creation(room, session, path):
    with pytest.raises(FileExistsError):
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.close(os.open(path.parent / "x.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with pytest.raises(FileExistsError):
        os.open(path.parent / "x.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.unlink(path.parent / "x.tmp")


def test_more_than_a_record_can_hold(room, session, path):
    with open(path, "wb", buffering=0) as file:
        file.seek(17 << 20)
        with pytest.raises(OSError) as refusal:  # noqa: PT011
            file.write(b"x")
        assert refusal.value.errno == errno.EFBIG
        with pytest.raises(OSError) as refusal:  # noqa: PT011
            file.truncate(1 << 40)
        assert refusal.value.errno == errno.EFBIG
    assert room.writes() == []
    assert "is this the right directory?" in room.errors()


def test_scratch_files_live_here_alone(room, session, path):
    directory = path.parent
    (directory / "notes.txt").write_text("one\n")
    with open(directory / "notes.txt", "a") as file:
        file.write("two\n")
    os.rename(directory / "notes.txt", directory / "other.txt")
    os.symlink("somewhere", directory / ".#lock")
    assert (directory / "other.txt").read_text() == "one\ntwo\n"
    assert {"other.txt", ".#lock"} <= set(os.listdir(directory))
    assert os.readlink(directory / ".#lock") == "somewhere"
    for name in ("other.txt", ".#lock"):
        os.unlink(directory / name)
        assert name not in os.listdir(directory)
    assert room.writes() == []


def test_scratch_files_together_are_bounded(room, session, path):
    names = [path.parent / f"scratch-{number}" for number in range(17)]

    def fill():
        for name in names:
            with open(name, "wb") as file:
                file.truncate(16 << 20)

    with pytest.raises(OSError, match="File too large"):
        fill()
    assert "Remove the scratch files" in room.errors().splitlines()[-1]
    assert [name.exists() for name in names].count(True) in {15, 16}
    path.write_bytes(text("records are saved all the same"))
    saved(room, session, "records are saved all the same")
    for name in names:
        name.unlink(missing_ok=True)
    names[15:] = []
    fill()
    for name in names:
        name.unlink()


def test_a_backup_put_back_is_a_save(room, session, path):
    content = path.read_bytes()
    run("cp", path, f"{path}.bak")
    path.write_bytes(text("changed"))
    run("mv", f"{path}.bak", path)
    assert room.record("sessions", session)["narrative"] == "first"
    assert json.loads(path.read_bytes())["narrative"] == json.loads(content)["narrative"]
    assert [state["fields"] for state in room.log()[-2:]] == [["narrative"], ["narrative"]]


def test_a_record_moved_aside_and_back_is_untouched(room, session, path):
    os.rename(path, f"{path}~")
    assert not path.exists()
    os.rename(f"{path}~", path)
    assert path.read_bytes() == room.shown("sessions", session)
    os.rename(path, f"{path}~")
    os.unlink(f"{path}~")
    assert path.exists(), "the record was never away from the server"
    assert room.writes() == []


def test_a_copy_of_a_record_is_no_new_record(room, session, path):
    copy = path.parent / "copy.json"
    run("cp", path, copy)
    assert room.writes() == []
    assert "was not sent as a new record, and stays here" in room.errors()
    assert os.getxattr(copy, "user.alyx.local") == b"true"
    run("rm", copy)
    assert room.writes() == []


def test_a_name_of_a_new_record_leads_to_it(room, session):
    path = room.drive / "water-administrations" / "today.json"
    path.write_text('{"subject": "KS004", "water_administered": 1.5}')
    key = room.log()[-1]["record"].split("/")[1]
    assert path.read_bytes() == room.shown("water-administrations", key)
    assert path.name not in os.listdir(path.parent)
    assert f"{key}.json" in os.listdir(path.parent)
    path.write_text('{"water_administered": 1.75}')
    assert room.record("water-administrations", key)["water_administered"] == 1.75
    run("sed", "-i", "s/1.75/2.25/", path)
    assert room.record("water-administrations", key)["water_administered"] == 2.25
    run("rm", path)
    assert not path.exists()
    assert f"{key}.json" not in os.listdir(path.parent)
    assert [method for method, _ in room.writes()] == ["POST", "PATCH", "PATCH", "DELETE"]


def test_a_read_only_drive_takes_nothing(changing, home):
    from mounted import mounted

    with mounted(changing.url, home) as drive:
        changing.clear_requests()
        name = os.listdir(drive / "labs")[0]
        for attempt in (
            lambda: (drive / "labs" / name).write_text("{}"),
            lambda: os.unlink(drive / "labs" / name),
            lambda: (drive / "labs" / "new.json").write_text("{}"),
            lambda: os.rename(drive / "labs" / name, drive / "labs" / "x.json"),
        ):
            with pytest.raises(OSError) as refusal:  # noqa: PT011
                attempt()
            assert refusal.value.errno == errno.EROFS
        assert [each for each in changing.requests() if each["method"] != "GET"] == []
