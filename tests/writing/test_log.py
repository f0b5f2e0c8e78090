"""``alyxfs log`` tells of all that was written, from a place that no cleaner empties, and quickly."""

import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alyxfs.edits.journal import Journal, State
from mounted import environment, run_alyxfs, until
from writing import FAST, in_terminal, mounted, writing

LAB = "angelakilab"
ALYXFS = (sys.executable, "-m", "alyxfs")
REFUSED = "Errno"
"""Any errno: which one it is, the tests of refusals say."""


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    """One drive for all tests here."""
    with writing(changing, tmp_path_factory.mktemp("log") / "home") as room:
        yield room


def log(room, *options, directory=None):
    done = run_alyxfs(room.home, "log", *options, str(directory or room.drive.path))
    assert done.returncode == 0, done.stderr
    return done


def save(room, institution):
    room.file("labs", LAB).write_text(json.dumps({"institution": institution}))


def test_journal_and_drafts_are_kept_in_the_state_directory(changing, tmp_path):
    home, state = tmp_path / "home", tmp_path / "state"
    with writing(changing, home, XDG_STATE_HOME=str(state)) as room:
        save(room, "kept")
        with pytest.raises(OSError, match=REFUSED):
            save(room, ["no text"])
        number = room.log()[0]["number"]
        shutil.rmtree(home / ".cache" / "alyxfs")  # by a cleaner, while it is mounted
        save(room, "later")
        assert room.command("undo", number=room.log()[-1]["number"])
    with mounted(changing.url, home, "--rw", *FAST, XDG_STATE_HOME=str(state)) as drive:
        entries = json.loads(run_alyxfs(home, "log", "--json", str(drive.path)).stdout)
        assert [entry["state"] for entry in entries] == ["done", "refused", "done", "done"]
        assert "kept" in run_alyxfs(home, "diff", str(number), "--drive", str(drive.path)).stdout
        assert len(list((drive / ".alyxfs" / "rejected").iterdir())) == 2
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (state / "alyxfs").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_what_an_earlier_version_left_in_the_cache_is_moved_at_the_mount(changing, tmp_path):
    home = tmp_path / "home"
    with writing(changing, home) as room:
        save(room, "of today")
    (server,) = (home / ".cache" / "alyxfs" / "servers").iterdir()
    (server / "rejected").mkdir()
    (server / "rejected" / "mine.json").write_text("mine")
    with mounted(changing.url, home, "--rw", *FAST) as drive:
        assert (drive / ".alyxfs" / "rejected" / "mine.json").read_text() == "mine"
    assert not (server / "rejected").exists()


def test_a_journal_that_is_removed_while_it_is_mounted_stops_every_write(changing, tmp_path):
    with writing(changing, tmp_path / "home", expected_trouble="removed or replaced") as room:
        save(room, "before")
        changing.clear_requests()
        shutil.rmtree(room.home / ".local" / "state")
        with pytest.raises(OSError, match=REFUSED):
            save(room, "without a journal")
        assert room.writes() == []
        assert room.record("labs", LAB)["institution"] == "before"
        assert "removed or replaced" in room.errors()


def test_the_log_shows_the_last_ones_of_what_is_asked_for(room):
    save(room, "one")
    save(room, "two")
    user = room.file("users", "demo")
    email = json.loads(user.read_text())["email"]
    user.write_text(json.dumps({"email": f"new.{email}"}))
    text = log(room).stdout
    assert re.search(rf"^ +\d+  \S+ \S+  done       save labs/{LAB}  \(institution\)$", text, re.MULTILINE)
    assert "users/demo" in text
    assert "users/demo" not in log(room, "--record", f"labs/{LAB}.json").stdout
    assert "users/demo" in log(room, "--record", "users").stdout
    assert log(room, "--state", "conflict", "--state", "unknown").stdout == ""
    assert log(room, "--since", "1h").stdout == text
    assert log(room, "--since", time.strftime("%Y-%m-%d", time.localtime(time.time() + 86400))).stdout == ""
    assert [entry["record"] for entry in json.loads(log(room, "--json", "--record", "users").stdout)] == ["users/demo"]
    wrong = run_alyxfs(room.home, "log", "--since", "yesterday", str(room.drive.path))
    assert wrong.returncode == 2
    assert "no date" in wrong.stderr


def test_what_comes_from_outside_is_printed_as_it_is_and_obeyed_by_no_terminal(room):
    name = "a[/b][red]\x1b]0;title\x07\u202e\u009b31m"
    with pytest.raises(OSError, match=REFUSED):
        (room.drive / "labs" / f"{name.replace('/', '')}.json").write_text('{"no_such_field": 1}')
    with pytest.raises(OSError, match=REFUSED):
        save(room, [name])
    for text in (
        log(room).stdout,
        in_terminal(*ALYXFS, "log", str(room.drive.path), HOME=str(room.home), PAGER="cat"),
    ):
        assert "[/b][red]" in text
        assert "\\x1b]0;title\\x07\\u202e\\x9b31m" in text
        assert not set("\x07\u202e\u009b") & set(text)


def test_ten_thousand_entries_are_shown_for_half_a_second_of_computing(changing, tmp_path):
    """Counted in CPU time of the command and of the drive: how long that takes is a matter of what else runs."""
    home = tmp_path / "home"
    with writing(changing, home) as room:
        (path,) = (home / ".local" / "state").glob("alyxfs/servers/*/journal.sqlite")
        journal = Journal(path)
        journal._connection.execute("PRAGMA synchronous=OFF")
        document = {f"field{index}": "a value of some length" * 20 for index in range(40)}
        for index in range(9_999):
            number = journal.prepare(changing.url, "save", "subjects", f"subject{index}", "PATCH", before=document)
            journal.record(number, State.DONE, request={"description": "x"}, after=document, remark="Said." * 10)
        journal.close()

        def cost(command):
            before = computed(room)
            done = command()
            return computed(room) - before, done

        took, done = min((cost(lambda: log(room)) for _ in range(3)), key=lambda each: each[0])
        assert len(done.stdout.splitlines()) == 100  # each with its remark
        assert "log --all" in done.stderr
        took_all, every = min((cost(lambda: log(room, "--all")) for _ in range(3)), key=lambda each: each[0])
        assert len(every.stdout.splitlines()) == 2 * 9_999
        bare = min(cost(lambda: run_alyxfs(home, "--version"))[0] for _ in range(3))
        print(f"alyxfs log {took:.2f} s, with --all {took_all:.2f} s, --version {bare:.2f} s")
        assert took < 0.5 + bare
        assert took_all < 1.5 + bare


def computed(room):
    """Seconds of CPU time of all commands that have ended, and of the drive."""
    children, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), os.sysconf("SC_CLK_TCK")
    fields = Path(f"/proc/{room.drive.process.pid}/stat").read_text().rpartition(")")[2].split()
    return children.ru_utime + children.ru_stime + (int(fields[11]) + int(fields[12])) / ticks


def test_follow_tells_what_happens_while_it_happens(room):
    output = room.home / "followed"
    with open(output, "wb") as target:
        following = subprocess.Popen(
            [*ALYXFS, "log", "--follow", str(room.drive.path)], env=environment(room.home), stdout=target, stderr=target
        )
    try:
        until(lambda: output.read_text().count("\n") >= len(room.log()), "what was before")
        save(room, "followed")
        saved = room.log()[-1]["number"]
        until(lambda: re.search(rf"^ *{saved}  .*  done ", output.read_text(), re.MULTILINE), "the save")
        with pytest.raises(OSError, match=REFUSED):
            save(room, ["no text"])
        until(lambda: re.search(rf"^ *{saved + 1}  .*  refused ", output.read_text(), re.MULTILINE), "the refusal")
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
    finally:
        following.kill()
        following.wait(30)
