"""What the drive or the server refuses: an errno, a sentence for people, the draft kept, a true journal."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess

import pytest

from alyxfs.demo.server import running_demo
from asking import Asking
from mounted import run_alyxfs
from writing import until, writing


@pytest.fixture(scope="module")
def module_room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("refusals") / "home", "--deadline", "5") as room:
        yield room


@pytest.fixture
def room(module_room):
    module_room.demo.control(reset=True)
    yield module_room
    module_room.demo.control(reset=True)


@pytest.fixture
def session(room):
    return room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]


def save(path, document, moment="close", flags=os.O_WRONLY | os.O_TRUNC | os.O_CREAT):
    """Errno of a save, 0 where there is none."""
    descriptor = os.open(path, flags, 0o644)
    try:
        os.write(descriptor, document if isinstance(document, bytes) else json.dumps(document).encode())
        if moment == "fsync":
            os.fsync(descriptor)
    except OSError as error:
        told = error.errno
        with pytest.raises(OSError, match=re.escape(os.strerror(told))):  # some programs look at what close says alone
            os.close(descriptor)
        return told
    try:
        os.close(descriptor)
    except OSError as error:
        return error.errno
    return 0


def refused(room, number, words, draft=None, state="refused"):
    """The last write was refused for this reason, and everybody can know."""
    entry = room.log()[-1]
    assert entry["state"] == state, entry
    assert words in entry["remark"]
    assert words in room.errors()
    if draft is not None:
        content = draft if isinstance(draft, bytes) else json.dumps(draft).encode()
        kept = [name for name, text in room.rejected().items() if text.encode() == content]
        assert kept
        reason = room.rejected()[kept[-1].removesuffix(".json") + ".reason.txt"]
        assert words in reason
    return entry


BAD = {
    "an unknown field": ({"narative": "x"}, "Did you mean 'narrative'?"),
    "a read-only field": ({"url": "http://elsewhere/"}, "set by the server"),
    "a wrong type": ({"n_trials": "many"}, "n_trials must be a whole number"),
    "a value that is no choice": ({"qc": "SPLENDID"}, "qc"),
    "a date that the server refuses": ({"start_time": "yesterday"}, "start_time"),
    "an unknown subject": ({"subject": "nobody"}, "subject"),
}


@pytest.mark.parametrize("moment", ["close", "fsync"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_value_is_refused(room, session, what, moment):
    document, words = BAD[what]
    before = room.record("sessions", session)
    room.demo.clear_requests()
    path = room.file("sessions", session)
    assert save(path, document, moment) == errno.EIO
    refused(room, errno.EIO, words, document)
    assert words in os.getxattr(path, "user.alyx.error").decode()
    assert room.record("sessions", session) == before
    sent_by_the_drive = what in {"a date that the server refuses", "an unknown subject", "a value that is no choice"}
    assert len(room.writes()) <= (1 if sent_by_the_drive else 0)
    assert path.read_bytes() == room.shown("sessions", session), "the record shows as it is"


@pytest.mark.parametrize("text", [b"narrative = good", b'{"narrative": "x"} {', b"[1, 2]", b'{"narrative": "\xff"}'])
def test_what_is_no_json_object_is_refused(room, session, text):
    room.demo.clear_requests()
    assert save(room.file("sessions", session), text) == errno.EIO
    assert room.writes() == []
    assert text.decode(errors="replace") in room.rejected().values()


def test_half_a_record_is_neither_sent_nor_lost(room, session):
    text = b'{"narrative": "half'
    room.demo.clear_requests()
    assert save(room.file("sessions", session), text) == 0, "more may come: a shell closes duplicates"
    until(lambda: text.decode() in room.rejected().values(), "the draft is kept, after the program has gone on")
    assert "no JSON object, so nothing was sent" in room.errors()
    assert room.writes() == []
    assert save(room.file("sessions", session), text, "fsync") == errno.EIO


def test_cp_and_vim_show_the_error(room, session, tmp_path):
    (tmp_path / "new.json").write_text('{"narative": "x"}')
    path = room.file("sessions", session)
    done = subprocess.run(["cp", tmp_path / "new.json", path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Input/output error" in done.stderr
    commands = ["-c", "%s/narrative/narative/", "-c", "w", "-c", "qall!"]
    done = subprocess.run(["vim", "-u", "NONE", "-es", *commands, path], capture_output=True, timeout=30, check=False)
    assert "narative" in room.log()[-1]["remark"]
    assert path.read_bytes() == room.shown("sessions", session)
    assert [name for name in os.listdir(path.parent) if session in name] == [path.name]


FAULTS = {
    "403": (403, errno.EACCES, "refused"),
    "404": (404, errno.ENOENT, "refused"),
    "405": (405, errno.EPERM, "refused"),
    "409": (409, errno.EIO, "refused"),
    "500": (500, errno.EIO, "refused"),
    "502": (502, errno.EIO, "unknown"),
}


@pytest.mark.parametrize("moment", ["close", "fsync"])
@pytest.mark.parametrize("status", FAULTS)
def test_each_status_has_its_errno(room, session, status, moment):
    code, number, state = FAULTS[status]
    draft = {"narrative": f"{status} at {moment}"}
    room.file("sessions", session).read_bytes()
    room.demo.control(fail={"status": code, "method": "PATCH"})
    room.demo.clear_requests()
    assert save(room.file("sessions", session), draft, moment) == number
    room.demo.control(reset=True)
    assert room.writes() == [("PATCH", f"/sessions/{session}")]
    entry = refused(room, number, str(room.log()[-1]["remark"])[:20], draft, state)
    assert entry["status"] == code
    assert room.record("sessions", session)["narrative"] == ""


@pytest.mark.parametrize("fault", ["drop_after_save", "truncate"])
def test_a_save_whose_answer_is_lost_is_found_done(room, session, fault):
    options = {"bytes": 10} if fault == "truncate" else {}
    room.demo.control(**{fault: {"count": 1, "method": "PATCH", **options}})
    room.demo.clear_requests()
    assert save(room.file("sessions", session), {"narrative": fault}) == 0
    assert room.writes() == [("PATCH", f"/sessions/{session}")]
    entry = room.log()[-1]
    assert entry["state"] == "done"
    assert "saved nevertheless" in entry["remark"]
    assert room.file("sessions", session).read_bytes() == room.shown("sessions", session)


def test_a_connection_that_breaks_before_the_server_acts(room, session):
    room.demo.control(close_before={"count": 1, "method": "PATCH"})
    assert save(room.file("sessions", session), {"narrative": "lost"}) == errno.EIO
    refused(room, errno.EIO, "not known whether it was saved", {"narrative": "lost"}, "unknown")
    assert room.record("sessions", session)["narrative"] == ""


def test_a_500_that_saved_is_known_to_have_saved(room):
    dataset = room.asking.get("/datasets?limit=1")["results"][0]
    made = room.asking.send(
        "POST",
        "/datasets",
        {"name": "_a_b.c.npy", "dataset_type": dataset["dataset_type"], "session": dataset["session"]},
    )
    key = made["url"].rsplit("/", 1)[-1]
    assert save(room.file("datasets", key), {"collection": "bad coll!"}) == 0
    entry = room.log()[-1]
    assert (entry["state"], entry["status"]) == ("done", 500)
    assert room.record("datasets", key)["collection"] == "bad coll!"


def test_a_record_that_is_gone(room, session):
    path = room.file("sessions", session)
    path.read_bytes()
    room.asking.send("DELETE", f"/sessions/{session}")
    assert save(path, {"narrative": "too late"}) == errno.ENOENT
    refused(room, errno.ENOENT, "", {"narrative": "too late"})


def test_what_is_part_of_the_drive_stays(room):
    help_file = room.drive / "labs" / ".help.md"
    before = help_file.read_bytes()
    for attempt, words in (
        (help_file.unlink, "cannot be removed"),
        (lambda: help_file.rename(help_file.with_name("mine.json")), "cannot be renamed"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            attempt()
        assert f".help.md is part of the drive and {words}." in room.errors()
    assert help_file.read_bytes() == before


def test_weighings_cannot_be_changed(room):
    row = room.asking.get("/weighings?limit=1")["results"][0]
    path = room.file("weighings", row["url"].rsplit("/", 1)[-1])
    assert save(path, {"weight": 1}) == errno.EPERM
    refused(room, errno.EPERM, "delete this one and make a new one", {"weight": 1})


def test_a_name_that_is_taken(room):
    path = room.file("subjects", "KS004")
    assert save(path, {"nickname": "KS005"}) == errno.EIO
    refused(room, errno.EIO, "exists already", {"nickname": "KS005"})
    with pytest.raises(OSError) as refusal:  # noqa: PT011 - the errno is what counts
        os.rename(path, room.file("subjects", "KS005"))
    assert refusal.value.errno == errno.EPERM
    new = room.drive / "subjects" / "another.json"
    assert save(new, {"nickname": "KS005", "lab": "cortexlab"}) == 0
    assert "which is there already" in room.errors()
    assert room.record("subjects", "KS004")["nickname"] == "KS004"
    os.unlink(new)


def test_a_new_record_that_lacks_something(room):
    path = room.drive / "weighings" / "incomplete.json"
    room.demo.clear_requests()
    assert save(path, {"weight": 20}) == errno.EIO
    refused(room, errno.EIO, "needs subject", {"weight": 20})
    assert room.writes() == []
    assert path.read_bytes() == b'{"weight": 20}', "it stays, so that it can be completed"
    assert save(path, {"weight": 20.5, "subject": "KS004"}) == 0
    assert room.writes() == [("POST", "/weighings")]
    assert json.loads(path.read_bytes())["weight"] == 20.5
    assert path.name not in os.listdir(path.parent)
    key = room.log()[-1]["record"].split("/")[1]
    assert room.file("weighings", key).read_bytes() == path.read_bytes()


def test_a_protected_dataset(room):
    row = next(row for row in room.asking.rows("/datasets?tag=2021_Q1_behaviour") if row["protected"])
    key = row["url"].rsplit("/", 1)[-1]
    # A protected dataset that no file hangs from: the server itself has to refuse.
    for file in room.asking.rows(f"/files?dataset={key}"):
        room.asking.send("DELETE", "/files/" + file["url"].rsplit("/", 1)[-1])
    allowed = run_alyxfs(room.home, "allow-deletes", str(room.file("datasets", key)))
    assert allowed.returncode == 0, allowed.stderr
    done = subprocess.run(["rm", room.file("datasets", key)], capture_output=True, text=True, check=False)
    assert "Permission denied" in done.stderr
    refused(room, errno.EACCES, "protected")
    assert room.file("datasets", key).exists()


def test_a_conflict_keeps_both_versions(room, session):
    path = room.file("sessions", session)
    mine = json.loads(path.read_bytes())
    room.asking.send("PATCH", f"/sessions/{session}", {"narrative": "theirs", "n_trials": 7})
    assert save(path, {**mine, "narrative": "mine"}) == errno.ESTALE
    entry = refused(room, errno.ESTALE, "changed on both sides", state="conflict")
    assert "narrative" in entry["remark"]
    kept = {name: text for name, text in room.rejected().items() if session in name}
    assert {json.loads(text)["narrative"] for name, text in kept.items() if name.endswith(".json")} >= {
        "mine",
        "theirs",
    }
    assert json.loads(path.read_bytes())["narrative"] == "theirs", "the next reader sees what is there"
    assert save(path, {**json.loads(path.read_bytes()), "narrative": "both"}) == 0
    now = room.record("sessions", session)
    assert (now["narrative"], now["n_trials"]) == ("both", 7)


def test_an_editor_that_slept_takes_back_nothing_of_others(room, session):
    """Another program's look at the new version does not make the old draft an edit of it, however it is saved."""
    path = room.file("sessions", session)
    mine = json.loads(path.read_bytes())
    room.asking.send("PATCH", f"/sessions/{session}", {"n_trials": 11})
    room.command("refresh", path=f"sessions/{session}.json")
    assert b'"n_trials": 11' in subprocess.run(["cat", path], capture_output=True, check=True).stdout
    os.rename(path, f"{path}~")
    assert save(path, {**mine, "narrative": "mine"}) == 0
    os.unlink(f"{path}~")
    now = room.record("sessions", session)
    assert (now["narrative"], now["n_trials"]) == ("mine", 11)


def test_the_public_user_may_not_write(changing, home):
    user = {"ALYXFS_USER": changing.public_user, "ALYXFS_PASSWORD": changing.public_password}
    with writing(changing, home, **user) as room:
        session = room.asking.get("/sessions?limit=1&lab=cortexlab")["results"][0]["id"]
        assert save(room.file("sessions", session), {"narrative": "public"}) == errno.EACCES
        refused(room, errno.EACCES, "sessions", {"narrative": "public"})


def test_a_throttled_write_is_not_repeated(changing, home):
    with writing(changing, home, "--deadline", "3") as room:
        session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
        room.file("sessions", session).read_bytes()
        room.demo.control(fail={"status": 429, "retry_after": 60, "method": "PATCH"})
        room.demo.clear_requests()
        assert save(room.file("sessions", session), {"narrative": "x"}) == errno.EAGAIN
        assert room.writes() == [("PATCH", f"/sessions/{session}")]
        refused(room, errno.EAGAIN, "", {"narrative": "x"})
    room.demo.control(reset=True)


def test_a_server_that_is_gone(demo_directory, home):
    """Before the write, and in the middle of one."""
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        asking = Asking(demo.url)
        first, second = (
            asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"] for _ in range(2)
        )
        with writing(demo, home, "--deadline", "3") as room:
            for session in (first, second):
                room.file("sessions", session).read_bytes()
            demo.control(delay={"seconds": 60, "method": "PATCH"})
            assert save(room.file("sessions", first), {"narrative": "during"}) in {errno.ETIMEDOUT, errno.EIO}
            assert room.log()[-1]["state"] == "unknown"
            demo.process.terminate()
            demo.process.wait(30)
            assert save(room.file("sessions", second), {"narrative": "after"}) == errno.EIO
            refused(room, errno.EIO, "", {"narrative": "after"})
            assert {'{"narrative": "during"}', '{"narrative": "after"}'} <= set(room.rejected().values())
