"""A server that denies a record that it has: what is written under its name is kept, the record seen again."""

from __future__ import annotations

import errno
import json
import os

import pytest

from writing import until, writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    options = ("--deadline", "5", "--time-to-live", "0.05")
    with writing(changing, tmp_path_factory.mktemp("denied") / "home", *options) as room:
        yield room


@pytest.fixture(autouse=True)
def honest(room):
    room.demo.control(reset=True)
    yield
    room.demo.control(reset=True)


def deny(room, key, count):
    """The next so many requests for a subject are answered that there is none."""
    room.demo.control(fail={"status": 404, "count": count, "method": "GET", "path_prefix": f"/subjects/{key}"})


def write(path, text):
    """Errno of a save, 0 where there is none."""
    try:
        path.write_text(text)
    except OSError as error:
        return error.errno
    return 0


def is_kept(room, text):
    return text in room.rejected().values()


def test_a_record_that_was_denied_shows_again_and_what_was_written_is_kept(room):
    path, text = room.file("subjects", "KS001"), '{"description": "written while it was denied"}'
    deny(room, "KS001", 1)
    assert write(path, text) == errno.EEXIST
    until(lambda: path.read_bytes() == room.shown("subjects", "KS001"), "the record is seen again")
    assert is_kept(room, text)
    assert "subjects/KS001 is there already" in room.errors()
    assert "subjects/KS001 is there already" in room.log()[-1]["remark"]
    assert write(path, text) == 0
    assert room.record("subjects", "KS001")["description"] == "written while it was denied"


def test_a_copy_of_the_record_itself_is_no_copy_under_a_new_name(room):
    path, record = room.file("subjects", "KS004"), room.record("subjects", "KS004")
    text = json.dumps({**record, "description": "the whole record, changed"})
    deny(room, "KS004", 1)
    assert write(path, text) == errno.EEXIST
    until(lambda: path.read_bytes() == room.shown("subjects", "KS004"), "the record is seen again")
    assert is_kept(room, text)


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_record_that_is_denied_for_long_shows_with_the_next_listing(room, is_whole):
    """Refused, or taken for the copy of a record and kept in memory alone."""
    key = f"denied{is_whole}"
    record = room.asking.send("POST", "/subjects", {"nickname": key, "lab": "cortexlab"})
    path, text = room.file("subjects", key), json.dumps({**record, "sex": "F"} if is_whole else {"sex": "F"})
    deny(room, key, 1000)
    assert write(path, text) == (0 if is_whole else errno.EIO)
    assert path.read_text() == text, "its program sees it"
    room.demo.control(reset=True)
    until(lambda: os.listdir(path.parent) and path.read_bytes() == room.shown("subjects", key), "it is seen again")
    assert os.listdir(path.parent).count(path.name) == 1
    assert is_kept(room, text)
    assert f"subjects/{path.name} is a record that is there" in room.errors()


def test_a_record_whose_name_is_like_a_scratch_files_shows_with_the_next_listing(room):
    """What was written reached nobody: it was taken for a file that an editor writes beside another one."""
    key, text = ".denied", '{"sex": "F"}'
    path = room.file("subjects", key)
    deny(room, key, 1000)
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        room.asking.send("POST", "/subjects", {"nickname": key, "lab": "cortexlab"})
        room.demo.control(reset=True)
        until(lambda: os.listdir(path.parent).count(path.name) == 1, "it is listed once")
        assert path.read_text() == text, "its program has it open"
    until(lambda: os.listdir(path.parent) and path.read_bytes() == room.shown("subjects", key), "it is seen again")
    assert is_kept(room, text)


def test_a_draft_that_is_still_open_stays_with_its_program(room):
    path, text = room.file("subjects", "KS002"), '{"description": "first"}'
    deny(room, "KS002", 1)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, text.encode())
    with pytest.raises(OSError, match="File exists"):
        os.fsync(descriptor)
    assert os.pread(descriptor, 1000, 0) == text.encode()
    with pytest.raises(OSError, match="File exists"):
        os.close(descriptor)
    until(lambda: path.read_bytes() == room.shown("subjects", "KS002"), "the record is seen again")
    assert is_kept(room, text)
