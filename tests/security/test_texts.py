"""Names and words of a hostile record or server, in all that a person reads: listings, logs and every command."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from functools import partial

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alyxfs import file_names
from alyxfs.cli import commands, main
from alyxfs.visible_text import HIDDEN
from asking import Asking
from files_alyx import SESSION, TOKEN, files_alyx, show
from mounted import mounted, run_alyxfs
from small_alyx import small_alyx
from writing import writing

EVIL = "\x1b[31m\a\u202e\u200b\u2066[bold]\x9b2J\r[red]\U000e0041\ufeffend"
hidden = re.compile(f"(?!\n)[{HIDDEN}]")
names = st.text(st.characters() | st.sampled_from(EVIL), min_size=1, max_size=40)


def clean(text):
    """Text that no terminal obeys."""
    found = hidden.search(text)
    assert found is None, text[max(0, found.start() - 60) : found.end() + 20]
    return text


@pytest.fixture(scope="module")
def alyx():
    with small_alyx() as alyx:
        answer = alyx.answer
        alyx.words = None

        def answer_or_refuse(method, target, headers, body):
            if alyx.words is not None and target.startswith("/projects/"):
                return 400, {"detail": alyx.words, "status_code": 400}
            return answer(method, target, headers, body)

        alyx.answer = answer_or_refuse
        yield alyx


@pytest.fixture(scope="module")
def open_drive(alyx, tmp_path_factory):
    home = tmp_path_factory.mktemp("texts") / "home"
    with mounted(alyx.url, home, "--time-to-live", "0", "--requests-per-minute", "60000", ALYXFS_TOKEN="good") as drive:
        yield drive


@settings(max_examples=int(os.environ.get("ALYXFS_TEXTS", "40")), suppress_health_check=list(HealthCheck))
@given(st.lists(names, min_size=1, max_size=5, unique=True), names)
def test_names_and_words_of_a_server_are_shown_without_hidden_characters(alyx, open_drive, keys, words):
    alyx.words = None
    alyx.put("projects", [{"name": key, "users": []} for key in keys])
    shown = os.listdir(open_drive / "projects")
    assert len(shown) == len(keys)
    for name in shown:
        clean(name)
    long = [key for key in keys if len(file_names.encode(key, ".json").encode()) > 250]
    assert {file_names.decode(name.removesuffix(".json")) for name in shown} >= set(keys) - set(long)
    alyx.words = words
    for name in shown:
        with contextlib.suppress(OSError):
            (open_drive / "projects" / name).read_bytes()
        with contextlib.suppress(OSError):
            clean(os.getxattr(open_drive / "projects" / name, "user.alyx.error").decode())
    assert clean((open_drive / ".alyxfs" / "errors.log").read_text())
    clean((open_drive / ".alyxfs" / "status.json").read_text())
    clean(CliRunner().invoke(commands, ["status", str(open_drive.path)]).output)


def test_a_hostile_schema_is_told_without_hidden_characters(home):
    with small_alyx() as alyx:
        alyx.schema = json.loads(json.dumps(alyx.schema))
        listing = alyx.schema["paths"]["/projects"]["get"]
        listing["description"] = listing["parameters"][0]["description"] = EVIL
        listing["parameters"].append({"in": "query", "name": EVIL, "schema": {"type": "string"}, "description": EVIL})
        with mounted(alyx.url, home, ALYXFS_TOKEN="good") as drive:
            assert "end" in clean((drive / "projects" / ".help.md").read_text())
            text = clean((drive / "projects" / ".schema.json").read_text())
            assert EVIL in json.loads(text)["filters"]


def test_no_command_says_what_a_terminal_would_obey(changing, home):
    """A project with such a name is made, changed, refused and taken back: the journal tells."""
    name = "evil" + EVIL.replace("\r", "")
    with writing(changing, home) as room:
        file = room.drive / "projects" / file_names.encode(name, ".json")
        assert clean(str(file)) == str(file)
        file.write_text(json.dumps({"name": name, "users": []}))
        file.write_text(json.dumps({"users": ["demo"]}))
        with pytest.raises(OSError, match="Input/output error"):
            file.write_text(json.dumps({f"field{EVIL}": 1}))
        with pytest.raises(OSError, match="Input/output error"):
            file.write_text(json.dumps({"users": [f"nobody{EVIL}"]}))
        listed = json.loads(clean(run_alyxfs(home, "log", "--json", str(room.drive.path)).stdout))
        assert any(name in entry["record"] for entry in listed)
        assert len(listed) >= 4
        place = str(room.drive.path)
        outputs = [
            run_alyxfs(home, *command, place) for command in (["status"], ["status", "--json"], ["log"], ["pin"])
        ]
        outputs += [
            run_alyxfs(home, command, str(entry["number"]), "--drive", place)
            for entry in listed
            for command in ("diff", "undo")
        ]
        outputs += [run_alyxfs(home, "refresh", str(file)), run_alyxfs(home, "pin", str(file))]
        for done in outputs:
            assert "Traceback" not in done.stderr
            clean(done.stdout + done.stderr)
        assert sum("evil" in done.stdout + done.stderr for done in outputs) >= 5
        assert "evil" in clean(room.errors())
        reasons = {key: text for key, text in room.rejected().items() if key.endswith(".reason.txt")}
        assert len(reasons) >= 2
        for key, text in reasons.items():
            clean(key + text)
        clean("".join(room.drive.log))
        for listed_name in os.listdir(room.drive / "projects"):
            clean(listed_name)
    assert Asking(changing.url).rows("/projects")


NO_SERVER = {"demo", "service"}
"""Commands that say nothing of what a server told."""
IN_A_PROCESS = {"mount", "trace"}
"""Those that cannot run in this one, or that change it."""


def arguments_of_every_command(url, drive, file, data_file, folder):
    """What each command is given: a drive whose server chose all names and words, and a ``folder`` to write to."""
    place = str(drive.path)
    manifest, changes, unknown = (str(folder / name) for name in ("trace.json", "changes.csv", "unknown.csv"))
    for path, column in ((changes, "users"), (unknown, EVIL)):
        with open(path, "w", newline="") as table:
            csv.writer(table).writerows([("name", column), (file_names.decode(file.stem), '["a"]')])
    return {
        "mount": [["-f", url, f"{place}-2"]],
        "umount": [[f"{place}/projects"]],
        "status": [[place], ["--json", place]],
        "explain": [[str(file)], [str(data_file)], [f"{place}/projects/name={EVIL}/x"]],
        "trace": [["--output", manifest, "sh", "-c", 'cat "$@" > /dev/null', "sh", str(file), str(data_file)]],
        "verify": [[manifest]],
        "report": [[manifest, "--html", str(folder / "page.html"), "--tsv", str(folder / "table.tsv")]],
        "fetch": [[str(data_file), "--to", str(folder / "copies")]],
        "snapshot": [[place, str(folder / "snapshot")], [place, str(folder / EVIL / "x")]],
        "cache": [[], ["clear", str(data_file)], ["verify"]],
        "refresh": [[str(file)], [str(data_file)], [place]],
        "pin": [[str(data_file)], [str(data_file.parent)], ["--list", place], [str(file)]],
        "unpin": [[str(data_file)]],
        "log": [[place], ["--json", place], ["--record", f"projects/{EVIL}", place]],
        "diff": [["1", "--drive", place], ["--staged", str(file)]],
        "undo": [["1", "--drive", place], ["2", "--drive", place], ["--set", "1", "--drive", place]],
        "edit": [["--from", path, name, place] for path in (changes, unknown) for name in ("projects", EVIL)],
        "apply": [["--drive", place], ["1", "--drive", place]],
        "discard": [["--drive", place], ["1", "--drive", place]],
        "allow-deletes": [[str(file)], [place]],
        "login": [[url, "--user", EVIL, "--password", "x"], [url, "--user", "anna", "--password", "wrong"]],
        "whoami": [[url]],
        "doctor": [[url]],
        "logout": [[url]],
    }


def said_by(arguments, monkeypatch, capsys):
    """What a command prints, run in this process."""
    monkeypatch.setattr("sys.argv", ["alyxfs", *arguments])
    with contextlib.suppress(SystemExit):
        main()
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_every_command_shows_a_hostile_server_without_hidden_characters(home, monkeypatch, capsys, tmp_path):
    evil = EVIL.replace("\r", "")
    with files_alyx() as server:
        show(server, {f"{evil}.npy": "http://127.0.0.1:9/x"})
        server.put("projects", [{"name": evil, "users": []}])
        answer = server.answer

        def refuse(method, target, headers, body):
            if method != "GET" or target.startswith("/auth-token"):
                return 400, {"detail": EVIL, EVIL: [EVIL], "status_code": 400}
            return answer(method, target, headers, body)

        with mounted(server.url, home, "--rw", "--deadline", "3", **TOKEN) as drive:
            server.answer = refuse
            file = drive / "projects" / file_names.encode(evil, ".json")
            data_file = drive / SESSION / file_names.encode(f"{evil}.npy")
            for change in (partial(file.write_text, '{"users": ["a"]}'), data_file.read_bytes, file.unlink):
                with contextlib.suppress(OSError):
                    change()
            table = arguments_of_every_command(server.url, drive, file, data_file, tmp_path)
            assert table.keys() | NO_SERVER == set(commands.list_commands(None)), "a new command is in the table"
            monkeypatch.setenv("HOME", str(home))
            monkeypatch.setenv("ALYXFS_TOKEN", "good")
            said = {}
            for command, several in table.items():
                for arguments in several:
                    if command in IN_A_PROCESS:
                        done = run_alyxfs(home, command, *arguments, ALYXFS_USER="anna", ALYXFS_PASSWORD="wrong")
                        text = done.stdout + done.stderr
                    else:
                        text = said_by([command, *arguments], monkeypatch, capsys)
                    said[command] = said.get(command, "") + clean(text)
            assert all(said.values()), said
            told = {name for name, text in said.items() if "end" in text}
            assert told >= {"log", "diff", "undo", "edit", "apply", "discard", "pin", "login", "allow-deletes"}, (
                "the server's words are in it"
            )
            clean((drive / ".alyxfs" / "errors.log").read_text())
            clean("".join(drive.log))
