"""What is not there, or cannot be done, and the sentence that says why: odd records, queries and commands."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from alyxfs import errors
from alyxfs.control import arguments
from alyxfs.control.client import send_command
from alyxfs.kernel.traces import MOST_TRACES
from files_alyx import TOKEN, files_alyx
from mounted import mounted
from small_alyx import identifiers, resource

ONE, OTHER, NOBODYS = identifiers(3, seed=7)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    with files_alyx() as alyx:
        (session,) = alyx.rows["sessions"]
        whether = {"in": "query", "name": "has_data", "schema": {"type": "boolean"}}
        more = {**resource("insertions", "id", "session"), **resource("tags", "name")}
        alyx.schema = {**alyx.schema, "paths": {**alyx.schema["paths"], **more}}
        alyx.schema["paths"]["/sessions"]["get"]["parameters"].append(whether)
        alyx.put("subjects", [{"nickname": "S1", "lab": "lab"}, {"nickname": "without lab", "lab": None}])
        alyx.put("sessions", [session, {"id": ONE, "subject": None, "lab": "lab", "start_time": None, "number": 1}])
        alyx.put("insertions", [{"id": ONE, "session": None, "name": "probe00"}])
        dataset = {"name": "a.npy", "collection": "alf", "revision": None, "file_size": 1, "file_records": []}
        alyx.put(
            "datasets",
            [
                {**dataset, "id": ONE, "session": f"{alyx.url}/sessions/{session['id']}"},
                {**dataset, "id": OTHER, "session": None},
            ],
        )
        home = tmp_path_factory.mktemp("why") / "home"
        home.mkdir()
        with mounted(alyx.url, home, **TOKEN) as drive:
            yield drive


def command(drive, name, **arguments):
    status = json.loads((drive / ".alyxfs" / "status.json").read_bytes())
    return send_command(Path(status["control_socket"]), name, **arguments)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("subjects/without lab", "The subject without lab has no lab, so it has no place in data/."),
        (f"sessions/{ONE}", "has no lab, subject or date, so it has no place in data/."),
        (f"insertions/{ONE}", "This insertion belongs to no session, so it has no place in data/."),
        (f"datasets/{ONE}", "(a.npy) has no file on any server."),
        (f"datasets/{OTHER}", "belongs to no session and is no aggregate: it has no place in data/."),
        (f"datasets/{NOBODYS}", "does not exist on the server."),
    ],
)
def test_a_record_without_a_place_in_data_has_no_link_and_the_reason_is_told(drive, path, sentence):
    assert command(drive, "explain", path=path)[-1].endswith(sentence)
    with pytest.raises(OSError) as missing:  # noqa: PT011 - the number is compared below
        os.readlink(drive / path)
    assert missing.value.errno in {errno.ENOENT, errno.ENODATA}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("sessions/lab=", "The filter lab needs a value: without one the server gives everything."),
        ("sessions/has_data=perhaps", "The filter has_data takes true or false, not 'perhaps'."),
        ("sessions/lab=a/lab=b", "The filter lab stands twice in this path"),
        ("sessions/flavour=sweet", "sessions has no filter 'flavour'; it has: "),
    ],
)
def test_a_query_that_cannot_be_asked_is_told_of_and_not_asked(drive, path, sentence):
    *_, told = command(drive, "explain", path=path)
    assert sentence in told, "and nobody is asked whether they meant what they wrote"
    with pytest.raises(OSError):  # noqa: PT011 - the sentence above says which
        os.listdir(drive / path)


@pytest.mark.parametrize("numbers", [["1"], [1.0], [True], [2**63], [None], "1"])
def test_numbers_of_writes_are_whole_ones(numbers):
    assert arguments.numbers_in({}) == []
    assert arguments.numbers_in({"numbers": [1, -5]}) == [1, -5]
    with pytest.raises(errors.Invalid, match="hat the drive takes as numbers"):
        arguments.numbers_in({"numbers": numbers})


@pytest.mark.parametrize(
    ("name", "said", "sentence"),
    [
        ("refresh", {}, "'None' is not what the drive takes as path."),
        ("refresh", {"path": "no such endpoint"}, "The drive has no 'no such endpoint'."),
        ("refresh", {"path": 5}, "'5' is not what the drive takes as path."),
        ("pin", {"paths": "labs"}, "'labs' is not what the drive takes as paths."),
        ("tidy", {"directory": "/", "limit": True}, "'True' is not what the drive takes as limit."),
        ("tidy", {"directory": "/", "limit": 2**63}, f"{2**63} is too large a limit."),
        ("traced-so-far", {}, "This drive was not mounted with --trace."),
        ("traced", {"asker": os.getpid()}, "watches none."),
        ("trace", {"process": 2**30, "asker": os.getpid()}, f"There is no process {2**30}."),
        ("compare", {"read": [{"path": 5}]}, "Entries of a manifest are objects with a path and a kind."),
        ("undo", {"number": 1}, "This drive is read-only: mount it with --rw."),
        ("edit", {"endpoint": "tags", "rows": []}, "This drive is read-only: mount it with --rw."),
        ("bring", {"path": "data"}, "data is no data file that the server has."),
        ("files", {"paths": ["no/such/place"]}, "no"),
    ],
)
def test_what_no_command_of_ours_says_is_refused_and_costs_the_drive_nothing(drive, name, said, sentence):
    with pytest.raises(errors.AlyxfsError) as refusal:
        command(drive, name, **said)
    assert sentence in str(refusal.value)
    assert json.loads((drive / ".alyxfs" / "status.json").read_bytes())["defects"] == 0


def test_more_commands_than_are_watched_at_a_time_are_refused_until_one_has_ended(drive):
    ended = threading.Event()
    askers = [threading.Thread(target=ended.wait, args=(60,)) for _ in range(MOST_TRACES + 1)]
    for thread in askers:
        thread.start()
    try:
        *first, last = (thread.native_id for thread in askers)  # to the kernel, and so to the drive, as processes are
        for asker in first:
            command(drive, "trace", process=os.getpid(), asker=asker)
        with pytest.raises(errors.TooLarge) as refusal:
            command(drive, "trace", process=os.getpid(), asker=last)
        assert str(refusal.value) == f"{MOST_TRACES} commands are watched already."
        with pytest.raises(errors.Exists) as refusal:
            command(drive, "trace", process=os.getpid(), asker=first[0])
        assert str(refusal.value) == f"The process {first[0]} watches another one already."
        command(drive, "traced", asker=first[0])
        command(drive, "trace", process=os.getpid(), asker=last)
    finally:
        ended.set()
        for thread in askers:
            thread.join()
    command(drive, "trace", process=os.getpid(), asker=os.getpid())
    assert command(drive, "traced", asker=os.getpid())["read"] == []
