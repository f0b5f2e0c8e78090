"""What another save takes back of ours in the same moment is told: the server cannot be asked not to do so."""

from __future__ import annotations

import json

import pytest

from writing import until, writing


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("second_look") / "home") as room:
        yield room


@pytest.fixture
def session(room):
    new = {"subject": "KS001", "lab": "cortexlab", "narrative": "first", "json": {"a": 1}}
    return room.asking.send("POST", "/sessions", new)["url"].rsplit("/", 1)[-1]


def told(room, session):
    return [line for line in room.errors().splitlines() if f"overwritten sessions/{session}" in line]


def looked_again(room, session):
    """Whether the drive has read the record since its requests were last cleared."""
    return ("GET", f"/sessions/{session}") in [(each["method"], each["path"]) for each in room.demo.requests()]


def test_a_field_that_is_as_it_was_before_again(room, session):
    count = json.loads((room.drive / ".alyxfs" / "status.json").read_text())["overwritten"]
    room.file("sessions", session).write_text('{"narrative": "mine"}')
    room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "first"})
    (line,) = until(lambda: told(room, session), "it is told")
    assert "narrative of sessions/" in line
    assert 'saved as "mine"' in line
    assert "is what it was before again" in line
    assert json.loads((room.drive / ".alyxfs" / "status.json").read_text())["overwritten"] == count + 1
    assert json.loads(room.file("sessions", session).read_bytes())["narrative"] == "first", "the drive shows it"


def test_a_key_that_went_with_a_whole_json_field(room, session):
    document = json.loads(room.file("sessions", session).read_bytes())
    room.file("sessions", session).write_text(json.dumps({**document, "json": {"a": 1, "mine": {"x": 1}}}))
    room.asking.send("PATCH", f"/sessions/{session}", {"json": {"a": 1, "theirs": 2}})
    (line,) = until(lambda: told(room, session), "it is told")
    assert "json.mine.x of sessions/" in line


def test_what_this_drive_itself_changes_again_is_not_told(room, session):
    path = room.file("sessions", session)
    for narrative in ("second", "third"):
        path.write_text(json.dumps({"narrative": narrative}))
    room.command("undo", number=room.log()[-1]["number"])
    room.demo.clear_requests()
    until(lambda: looked_again(room, session), "the second look")
    other = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
    room.file("sessions", other).write_text('{"narrative": "mine"}')
    room.asking.send("PATCH", f"/sessions/{other}", {"narrative": "theirs"})
    until(lambda: told(room, other), "a later one is told, and so this one would have been")
    assert told(room, session) == []
    assert room.record("sessions", session)["narrative"] == "second"


def test_what_was_lost_by_the_unmount_is_told_in_the_log(changing, home):
    with writing(changing, home, expected_trouble="which was saved as") as room:
        new = {"subject": "KS001", "lab": "cortexlab", "narrative": "first"}
        session = room.asking.send("POST", "/sessions", new)["id"]
        room.file("sessions", session).write_text('{"narrative": "mine"}')
        room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "first"})
    assert any("WARNING" in line and 'saved as "mine"' in line for line in room.drive.log)
