"""Every program on every endpoint: a save that works is done, and one that is refused is seen by its user.

Interactive editors run in a terminal; of editors with windows the calls are made that they make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.parse

import pytest

from alyxfs import file_names
from alyxfs.alyx.quirks.writing import RESENT_ON_PATCH
from writing import in_terminal, writing

ALL_PAIRS = bool(os.environ.get("ALYXFS_FULL_TESTS"))
"""Every program on every endpoint takes a quarter of an hour; else each program is tried on some of them."""

TEXT_FIELDS = {
    "brain-regions": "description",
    "channels": "name",
    "chronic-insertions": "serial",
    "data-formats": "description",
    "data-notices": "name",
    "data-repository": "globus_path",
    "dataset-types": "description",
    "datasets": "name",
    "fields-of-view": "name",
    "files": "relative_path",
    "insertions": "serial",
    "labs": "address",
    "notes": "text",
    "projects": "description",
    "revisions": "description",
    "sessions": "narrative",
    "subjects": "description",
    "surgeries": "narrative",
    "tags": "description",
    "tasks": "version",
}
NUMBER_FIELDS = {"trajectories": "x", "water-administrations": "water_administered"}
JSON_FIELDS = {"downloads": "json", "locations": "json", "data-repository-type": "json", "fov-location": "json"}
ENDPOINTS = sorted({**TEXT_FIELDS, **NUMBER_FIELDS, **JSON_FIELDS})

ERROR = re.compile(r"[Ee]rror|E\d{3}:|not permitted|[Cc]annot|[Cc]an't|failed")


def told(*command, **options):
    """What the program told of a failure; empty where it told none."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    assert done.returncode or not done.stderr, done.stderr
    return (done.stderr or f"ended with {done.returncode}, without a word") if done.returncode else ""


def vim(path, old, new, _directory):
    seen = in_terminal("vim", "-u", "NONE", "-N", str(path), keys=f":%s/{old}/{new}/\r:w\r:q!\r")
    return "".join(re.findall(r"E(?:512|514|667|166|208|509): [^\x1b]*", seen))


def nano(path, old, new, _directory):
    """What it says of a save that is done may be drawn in parts, so that it is left without waiting for that."""
    keys = f"\x1c{old}\r{new}\ra\x0f\r\x18n"
    seen = in_terminal("nano", "--ignorercfiles", str(path), keys=keys)
    return "".join(re.findall(r"Error writing [^\x1b]*", seen))


def emacs(path, old, new, _directory):
    leave = "\x18\x03"
    answers = [("anyway", "yes\r"), ("Save file", "n"), ("Wrote", leave), ("rror", leave), ("not permitted", leave)]
    lisp = f'(progn (find-file "{path}") (setq create-lockfiles t))'
    keys = f"\x1b%{old}\r{new}\r!\x18\x13"
    seen = in_terminal("emacs", "-Q", "-nw", "--eval", lisp, keys=keys, answers=answers)
    assert "Wrote" in seen or ERROR.search(seen), seen
    return "" if "Wrote" in seen else "".join(ERROR.findall(seen))


def python(code):
    def save(path, old, new, _directory):
        return told(sys.executable, "-c", f"import os, sys\npath, old, new = sys.argv[1:]\n{code}", path, old, new)

    return save


def visual_studio_code():
    """It looks at the error of fdatasync no more closely than to switch it off; what close says it shows."""
    return python("""
text = open(path).read().replace(old, new)
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
os.write(file, text.encode())
try:
    os.fdatasync(file)
except OSError:
    pass
os.close(file)""")


def gedit():
    return python("""
text = open(path).read().replace(old, new)
scratch = os.path.join(os.path.dirname(path), ".goutputstream-" + str(os.getpid()))
file = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
os.write(file, text.encode())
os.fsync(file)
os.close(file)
try:
    os.rename(scratch, path)
except OSError:
    os.unlink(scratch)
    raise""")


def libreoffice():
    """A lock file beside it, the text into the file itself, and what was there before copied back in part."""
    return python("""
directory, name = os.path.split(path)
lock = os.path.join(directory, ".~lock." + name + "#")
open(lock, "w").write(",me,here;")
text = open(path).read().replace(old, new).encode()
try:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(file, 0)
    for start in range(0, len(text), 4096):
        os.pwrite(file, text[start:start + 4096], start)
    os.ftruncate(file, len(text))
    os.fsync(file)
    os.close(file)
finally:
    os.unlink(lock)""")


def shell(line):
    """A shell line; $COPY is a changed copy in another directory, of the name of $FILE."""

    def save(path, old, new, directory):
        copy = directory / path.name
        copy.write_text(path.read_text().replace(old, new))
        variables = {"FILE": str(path), "NAME": path.name, "COPY": str(copy), "OLD": old, "NEW": new}
        return told("bash", "-c", f"set -o pipefail; cd {directory}; {line}", env={**os.environ, **variables})

    return save


PROGRAMS = {
    "vim": vim,
    "nano": nano,
    "emacs": emacs,
    "visual studio code": visual_studio_code(),
    "gedit": gedit(),
    "libreoffice": libreoffice(),
    "sed -i": shell('sed -i "s/$OLD/$NEW/" "$FILE"'),
    "perl -pi": shell('perl -pi -e "s/$OLD/$NEW/" "$FILE"'),
    "sponge": shell('sed "s/$OLD/$NEW/" "$FILE" | sponge "$FILE"'),
    "cp": shell('cp "$COPY" "$FILE"'),
    "mv": shell('mv "$COPY" "$FILE"'),
    # By size and time alone rsync would find them to be the same.
    "rsync --inplace": shell('rsync --inplace --ignore-times "$COPY" "$FILE"'),
    "tar": shell('tar cf archive.tar "$NAME"; tar xf archive.tar -C "$(dirname "$FILE")"'),
    # It does not look at what close says: errors.log alone tells.
    "unzip": shell('zip -q archive.zip "$NAME"; unzip -qq -o archive.zip -d "$(dirname "$FILE")"'),
    "python": python("""
text = open(path).read().replace(old, new)
with open(path, "w") as file:
    file.write(text)"""),
    "a byte-order mark": shell('(printf "\\357\\273\\277"; cat "$COPY") > .marked; cp .marked "$FILE"'),
}
PAIRS = [
    (endpoint, program)
    for row, endpoint in enumerate(ENDPOINTS)
    for column, program in enumerate(PROGRAMS)
    if ALL_PAIRS or (row - column) % len(PROGRAMS) == 0
]


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("every_editor") / "home") as room:
        yield room


def prepared(room, endpoint):
    """The path of a record whose field holds the old value; the field, the old and the new value."""
    schema = room.asking.get("/api/schema")["paths"]
    lookup = next(path for path in schema if path.startswith(f"/{endpoint}/{{")).rpartition("{")[2].rstrip("}")
    rows = room.asking.get(f"/{endpoint}?limit=100")["results"]
    keys = [
        str(row[lookup] if lookup in row else row["url"].rsplit("/", 1)[-1])
        for row in rows
        # Each save of a note makes its picture's name longer; one of a surgery saves its subject, which must be valid.
        if not row.get("image") and not (endpoint == "surgeries" and re.search(r"[^\w-]", row["subject"]))
    ]
    key = min(key for key in keys if "/" not in key)  # the same one each time: lists have no order
    record = room.record(endpoint, key)
    field = {**TEXT_FIELDS, **NUMBER_FIELDS, **JSON_FIELDS}[endpoint]
    old, new = ("1234.5", "4321.5") if endpoint in NUMBER_FIELDS else ("before it", "behind it")
    if endpoint in {"datasets", "files"}:
        old, new = old.replace(" ", "_"), new.replace(" ", "_")
    value = {"text": old} if endpoint in JSON_FIELDS else float(old) if endpoint in NUMBER_FIELDS else old
    resent = {name: record[name] for name in RESENT_ON_PATCH.get(endpoint, ())}
    room.asking.send("PATCH", f"/{endpoint}/{urllib.parse.quote(key, safe='')}", {**resent, field: value})
    room.command("refresh", path=endpoint)
    path = room.drive / endpoint / file_names.encode(key, ".json")
    assert old in path.read_text()
    return path, key, field, old, new


@pytest.mark.parametrize(("endpoint", "program"), PAIRS, ids=[" with ".join(pair) for pair in PAIRS])
def test_a_save_is_done_or_seen_to_be_refused(room, endpoint, program, tmp_path):
    path, key, field, old, new = prepared(room, endpoint)
    save = PROGRAMS[program]
    before = room.record(endpoint, key)

    seen = save(path, f'"{field}":', f'"{field}_":', tmp_path)
    if program == "unzip":
        seen = room.errors().splitlines()[-1].partition(f"{endpoint} has no field '{field}_'")[1]
    assert seen, "its user is told that it was refused"
    assert room.record(endpoint, key) | {"auto_datetime": 0} == before | {"auto_datetime": 0}
    path.with_name(f"{path.name}~").unlink(missing_ok=True)
    assert old in path.read_text(), "the record shows as it is"

    seen = save(path, old, new, tmp_path)
    assert seen == "", room.errors().splitlines()[-1:]
    assert new in json.dumps(room.record(endpoint, key)[field])
    assert new in path.read_text()
    for left in path.parent.glob(f"*{path.name}?*"):
        left.unlink()
