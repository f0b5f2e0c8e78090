"""Many records edited by 8 processes at once: each edit is applied or refused, and the journal tells how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from alyxfs.edits import State
from writing import until, writing

RECORDS = 1000 if os.environ.get("ALYXFS_FULL_TESTS") else 50
"""All 1,000 (2,500 edits) take three and a half minutes on two cores, so that only ALYXFS_FULL_TESTS asks for them."""
PROCESSES = 8

WORKER = """
import errno, json, os, random, sys
number, directory = int(sys.argv[1]), sys.argv[2]
mine, shared = json.load(sys.stdin)
random.seed(number)
edits = [(key, "narrative", f"process {number}") for key in shared]
edits += [(key, "narrative", f"own {number}") for key in mine] + [(key, "json", number) for key in shared]
random.shuffle(edits)
for key, field, value in edits:
    path = f"{directory}/{key}.json"
    document = None
    while document is None:  # another process may just have emptied the file
        with open(path) as file:
            text = file.read()
        document = json.loads(text) if text.endswith("}") or text.endswith("}\\n") else None
    if field == "json":
        document["json"] = {**(document["json"] or {}), f"key{number}": value}
    else:
        document[field] = value
    error = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC) if random.random() < 0.5 else None
    try:
        if descriptor is None:
            with open(f"{path}.{number}.tmp", "w") as file:
                json.dump(document, file)
            os.replace(f"{path}.{number}.tmp", path)
        else:
            os.write(descriptor, json.dumps(document).encode())
            os.close(descriptor)
    except OSError as failure:
        error = failure.errno
        if descriptor is None:
            os.unlink(f"{path}.{number}.tmp")
    print(json.dumps([key, field, value, error]))
"""


@pytest.mark.timeout(900)
def test_every_edit_is_applied_or_refused_and_the_journal_tells_how_it_ended(changing, tmp_path):
    with writing(changing, tmp_path / "home") as room:
        keys = [
            room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
            for _ in range(RECORDS)
        ]
        shared, own = keys[: RECORDS // 10], keys[RECORDS // 10 :]
        room.demo.clear_requests()
        workers = []
        for number in range(PROCESSES):
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER, str(number), str(room.drive / "sessions")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            worker.stdin.write(json.dumps([own[number::PROCESSES], shared]))
            worker.stdin.close()
            workers.append(worker)
        results = []
        for worker in workers:
            with worker.stdout as lines:
                results += map(json.loads, lines)
        assert [worker.wait(60) for worker in workers] == [0] * PROCESSES
        assert len(results) == len(own) + 2 * PROCESSES * len(shared)
        ended = Counter(os.strerror(error) if error else "applied" for *_, error in results)
        print(f"{len(results)} edits of {RECORDS} records by {PROCESSES} processes: {dict(ended)}")
        assert ended.keys() <= {"applied", "Stale file handle"}

        truth = {key: room.record("sessions", key) for key in keys}
        for key, field, value, error in results:
            if field == "json" and not error:  # each process has a key of its own, and none takes out another's
                assert truth[key]["json"][f"key{value}"] == value
            elif key in own:
                assert (error, truth[key][field]) == (0, value)
        for key in shared:
            applied = [value for each, field, value, error in results if (each, field, error) == (key, "narrative", 0)]
            assert truth[key]["narrative"] in applied

        entries = [entry for entry in room.log() if entry["operation"] == "save"]
        assert {entry["state"] for entry in entries} <= {"done", "conflict"}
        assert len([entry for entry in entries if entry["state"] == "conflict"]) == ended["Stale file handle"]
        patched = Counter(path for method, path in room.writes())
        assert patched == Counter(
            f"/{entry['record']}" for entry in entries if entry["state"] == "done" and entry["fields"]
        )
        assert journalled_ends(room) == {key: (record["narrative"], record["json"]) for key, record in truth.items()}, (
            "the last write of each record left it as it is"
        )
        until(lambda: not [name for name in os.listdir(room.drive / "sessions") if name.endswith(".tmp")], "no rest")
        for key in keys[:: max(1, RECORDS // 50)]:
            assert room.file("sessions", key).read_bytes() == room.shown("sessions", key)


def journalled_ends(room):
    """How the last finished write of each record left it, as the journal's file has it."""
    ends = {}
    for entry in room.journal():
        if entry.state is not State.DONE:
            continue
        key, document = entry.key, entry.after
        # Of two writes of one record the later number is not always the later request: the server's time tells.
        if key not in ends or ends[key]["auto_datetime"] <= document["auto_datetime"]:
            ends[key] = document
    return {key: (document["narrative"], document["json"]) for key, document in ends.items()}
