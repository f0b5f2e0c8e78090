"""The same random steps on two drives, one of which only proposes: after each step both must show the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
from pathlib import Path

from alyxfs.alyx.quirks.writing import COMPUTED
from random_records import called, errno_of

SERVER_MADE = {
    "id",
    "auto_datetime",
    "datetime",
    "created_datetime",
    "last_download",
    "image",  # stored anew at each save
    "history",
    *COMPUTED["subjects"],
}
"""Fields that the server sets of its own accord."""
LOCAL_NAME = re.compile(r"\.scratch-\d+|.*~")

EDITS = {
    "sessions": {
        "narrative": ["", "a", "b\nc", " trimmed "],
        "n_trials": [1, 2, None],
        "number": [1, 7],
        "task_protocol": ["ephys", "habituation"],
        "json": [None, {"k": 1}, {"k": 1, "m": [1, 2]}],
        "users": [[], ["demo"]],
    },
    "subjects": {"description": ["", "a", "b"], "sex": ["M", "F"], "json": [{"x": 1}, {"y": 2}]},
    "labs": {"institution": ["UCL", "KTH"], "json": [{"z": 1}, None]},
    "projects": {"description": ["", "new words"], "users": [[], ["demo"]]},
    "tags": {"description": ["", "words"]},
    "notes": {"text": ["", "one", "two"]},
    "insertions": {"json": [None, {"qc": "PASS"}], "serial": ["", "19051016"]},
    "water-administrations": {"water_administered": [0.5, 1, None], "adlib": [True, False]},
    "weighings": {"weight": [20]},
}
NEW = {
    "sessions": {"subject": "KS004", "start_time": "2024-02-03T10:00:00", "number": 5, "narrative": "made"},
    "weighings": {"subject": "KS004", "weight": 21.5, "date_time": "2024-02-03T10:00:00"},
    "water-administrations": {
        "subject": "KS004",
        "water_type": "Water",
        "water_administered": 1,
        "date_time": "2024-02-03T11:00:00",
    },
    "projects": {"description": "made", "users": ["demo"]},
    "tags": {"description": "made"},
    "labs": {"institution": "made"},
    "subjects": {"lab": "cortexlab", "responsible_user": "demo", "birth_date": "2023-01-01"},
}
REFUSED = [
    ("weighings", {"subject": "nobody", "weight": 1}),
    ("weighings", {"subject": "KS004"}),
    ("sessions", {"subject": "KS004", "projects": ["no such project"]}),
    ("sessions", {"subject": "KS004", "narative": "x"}),
    ("subjects", {"lab": "no such lab"}),
]
QUERIES = (
    "sessions/subject=KS004",
    "sessions/number=7",
    "sessions/task_protocol=habituation",
    "sessions/django=narrative,a",
    "sessions/subject=KS004/number=1",
    "sessions/users=demo",
    "subjects/lab=cortexlab",
    "weighings/nickname=KS004",
    "projects/users=demo",
)
NAMED = ("subjects", "projects", "labs", "tags")
"""Endpoints whose records can be renamed."""


class Pair:
    """Two drives of equal servers."""

    def __init__(self, dry, real, seed: int) -> None:
        self.rooms = (dry, real)
        self.random = random.Random(seed)
        self.ids: list[tuple[str, str]] = []
        """Of the records that were made: what each drive calls them."""
        self.touched: dict[str, list[tuple[str, str]]] = {endpoint: [] for endpoint in EDITS}
        self.renamed: set[str] = set()
        self.made = 0
        self.story: list[str] = []

    # What is there

    def begin(self, records: int = 2) -> None:
        """Some records of each endpoint, the same on both."""
        for endpoint, touched in self.touched.items():
            names = sorted(os.listdir(self.rooms[0].drive / endpoint))
            assert names == sorted(os.listdir(self.rooms[1].drive / endpoint))
            if endpoint == "subjects":
                names = ["KS004.json", "KS005.json", "KS006.json"]
            elif endpoint == "sessions":
                names = sorted(os.listdir(self.rooms[0].drive / "sessions" / "subject=KS004"))
            touched += [(name, name) for name in self.random.sample(names, min(records, len(names)))]

    def pick(self, endpoints) -> tuple[str, tuple[str, str]] | None:
        """A record that was touched."""
        endpoint = self.random.choice([each for each in endpoints if self.touched[each]])
        return endpoint, self.random.choice(self.touched[endpoint])

    def both(self, what: str, do) -> int:
        """The same on both drives: ``do(directory, which)``; returns the errno, which must be the same."""
        self.story.append(what)
        told = [errno_of(lambda which=which: do(Path(self.rooms[which].drive.path), which)) for which in (0, 1)]
        assert told[0] == told[1], self.told(f"{what}: errno {told[0]} in the dry run, {told[1]} for real")
        return told[0]

    def told(self, what: str) -> str:
        errors = [room.errors().splitlines()[-2:] for room in self.rooms]
        return "\n".join([what, *self.story[-12:], *errors[0], *errors[1]])

    # What programs do

    def step(self) -> None:
        steps = (
            self.overwrite,
            self.save_as_vim,
            self.save_in_place,
            self.copy_over,
            self.create,
            self.create,
            self.create_refused,
            self.remove,
            self.rename,
            self.make_directory,
        )
        self.random.choice(steps)()

    def edit(self, endpoint: str) -> dict:
        fields = EDITS[endpoint]
        chosen = self.random.sample(sorted(fields), min(len(fields), self.random.choice((1, 1, 2))))
        return {name: self.random.choice(fields[name]) for name in chosen}

    def overwrite(self) -> None:
        endpoint, names = self.pick(EDITS)
        mine = self.edit(endpoint)

        def do(drive, which):
            (drive / endpoint / names[which]).write_text(json.dumps(mine))

        self.both(f"> {endpoint}/{names} {mine}", do)

    def save_as_vim(self) -> None:
        endpoint, names = self.pick(EDITS)
        mine = self.edit(endpoint)

        def do(drive, which):
            path = drive / endpoint / names[which]
            document = {**json.loads(path.read_bytes()), **mine}
            os.rename(path, f"{path}~")
            try:
                with open(path, "w") as file:
                    json.dump(document, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                os.unlink(f"{path}~")

        self.both(f"vim {endpoint}/{names} {mine}", do)

    def save_in_place(self) -> None:
        endpoint, names = self.pick(EDITS)
        mine = self.edit(endpoint)

        def do(drive, which):
            path = drive / endpoint / names[which]
            scratch = path.with_name(f".scratch-{len(self.story)}")
            scratch.write_text(json.dumps({**json.loads(path.read_bytes()), **mine}))
            try:
                os.replace(scratch, path)
            finally:
                scratch.unlink(missing_ok=True)

        self.both(f"mv {endpoint}/{names} {mine}", do)

    def copy_over(self) -> None:
        endpoint, names = self.pick(EDITS)
        mine = self.edit(endpoint)

        def do(drive, which):
            path = drive / endpoint / names[which]
            content = json.dumps({**json.loads(path.read_bytes()), **mine}).encode()
            done = subprocess.run(["cp", "/dev/stdin", path], input=content, capture_output=True, check=False)
            if done.returncode:
                raise OSError(5, done.stderr.decode())

        self.both(f"cp {endpoint}/{names} {mine}", do)

    def create(self) -> None:
        endpoint = self.random.choice(sorted(NEW))
        self.made += 1
        name = f"made_{self.made}.json"
        where = f"{endpoint}/subject=KS005" if endpoint == "sessions" and self.made % 2 else endpoint
        document = dict(NEW[endpoint])
        if where != endpoint:
            del document["subject"]

        def do(drive, which):
            (drive / where / name).write_text(json.dumps(document))

        if self.both(f"new {where}/{name}", do) == 0:
            pair = tuple(self.key_of(room, f"{where}/{name}") for room in self.rooms)
            if pair[0] != pair[1]:
                self.ids.append(pair)
            self.touched[endpoint].append(tuple(f"{key}.json" for key in pair))

    @staticmethod
    def key_of(room, path: str) -> str:
        document = json.loads((room.drive / path).read_bytes())
        return str(document.get("nickname") or document.get("url", "").rpartition("/")[2] or document["name"])

    def create_refused(self) -> None:
        endpoint, document = self.random.choice(REFUSED)
        name = f"refused-{len(self.story)}.json"

        def do(drive, which):
            path = drive / endpoint / name
            try:
                path.write_text(json.dumps(document))
            finally:
                path.unlink()

        assert self.both(f"refused {endpoint} {document}", do) != 0

    def remove(self) -> None:
        endpoint, names = self.pick(EDITS)

        def do(drive, which):
            with called("rm"):
                told = errno_of(lambda: os.unlink(drive / endpoint / names[which]))
            if told:
                raise OSError(told, os.strerror(told))

        self.both(f"rm {endpoint}/{names}", do)

    def rename(self) -> None:
        endpoint, names = self.pick(NAMED)
        self.made += 1
        new_name = self.random.choice([f"renamed_{self.made}.json", self.random.choice(self.touched[endpoint])[0]])

        def do(drive, which):
            done = subprocess.run(
                ["mv", "-n", drive / endpoint / names[which], drive / endpoint / new_name],
                capture_output=True,
                check=False,
            )
            if done.returncode:
                raise OSError(1, done.stderr.decode())

        if (
            self.both(f"mv {endpoint}/{names} {new_name}", do) == 0
            and (new_name, new_name) not in self.touched[endpoint]
        ):
            self.touched[endpoint].append((new_name, new_name))
        self.renamed.add(names[0].removesuffix(".json"))

    def make_directory(self) -> None:
        endpoint = self.random.choice(sorted(EDITS))
        assert self.both(f"mkdir {endpoint}/x", lambda drive, which: os.mkdir(drive / endpoint / "x")) != 0

    # What is shown

    def compare(self) -> None:
        """What ls, cat and find show of all that was touched."""
        for endpoint in EDITS:
            self.compare_names(endpoint)
            for names in self.touched[endpoint]:
                self.compare_record(endpoint, names)
        subjects = [f"sessions/subject={names[0].removesuffix('.json')}" for names in self.touched["subjects"]]
        for query in (*QUERIES, *subjects):
            self.compare_names(query)
        for subject in {"KS004", "KS005"} - self.renamed:  # a former name may stand in data/ for a while
            self.compare_folders(f"data/cortexlab/Subjects/{subject}")

    def compare_names(self, directory: str) -> None:
        dry, real = ({self.translated(name, which) for name in self.listed(directory, which)} for which in (0, 1))
        assert dry == real, self.told(f"{directory}: only in the dry run {dry - real}, only for real {real - dry}")

    def compare_folders(self, directory: str) -> None:
        """What find shows: the sessions of a subject."""
        dry, real = (
            {self.translated(line, which) for line in self.found(directory, which).splitlines()} for which in (0, 1)
        )
        assert dry == real, self.told(f"{directory}: only in the dry run {dry - real}, only for real {real - dry}")

    def found(self, directory: str, which: int) -> str:
        command = ["find", directory, "-mindepth", "2", "-maxdepth", "2"]
        place = self.rooms[which].drive.path
        return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False).stdout

    def listed(self, directory: str, which: int) -> list[str]:
        return [name for name in os.listdir(self.rooms[which].drive / directory) if not LOCAL_NAME.fullmatch(name)]

    def compare_record(self, endpoint: str, names: tuple[str, str]) -> None:
        shown = []
        for which, room in enumerate(self.rooms):
            path = room.drive / endpoint / names[which]
            try:
                content = path.read_bytes()
                assert path.stat().st_size == len(content)
                shown.append(plain(json.loads(self.translated(content.decode(), which))))
            except FileNotFoundError:
                shown.append(None)
        assert shown[0] == shown[1], self.told(f"{endpoint}/{names}: {differences(*shown)}")

    def translated(self, text: str, which: int) -> str:
        """With one name for what each server calls otherwise."""
        text = text.replace(self.rooms[which].demo.url, "http://alyx")
        for number, pair in enumerate(self.ids):
            text = text.replace(pair[which], f"<record {number}>")
        return text


def plain(value):
    """Without what the server makes of its own accord; relations have no order."""
    if isinstance(value, dict):
        return {name: plain(item) or None for name, item in value.items() if name not in SERVER_MADE}
    if isinstance(value, list):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def differences(one, other, where: str = "") -> list[str]:
    """What of two documents differs, each with its place."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {**one, **other}
        return [text for name in names for text in differences(one.get(name), other.get(name), f"{where}.{name}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [text for number, pair in pairs for text in differences(*pair, f"{where}[{number}]")]
    return [] if one == other else [f"{where}: in the dry run {one!r}"[:300] + f", for real {other!r}"[:300]]


@contextlib.contextmanager
def unchanged(database: Path):
    """The database holds the same rows at the end."""
    before = rows_of(database)
    yield
    after = rows_of(database)
    assert after.keys() == before.keys()
    changed = {table for table, rows in before.items() if rows != after[table]}
    assert not changed


def rows_of(database: Path) -> dict[str, list[tuple]]:
    """All rows of all tables but those of log-ins."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: connection.execute(f'SELECT * FROM "{table}"').fetchall()
            for table in tables
            if not table.startswith(("authtoken", "django_session", "sqlite"))
        }
