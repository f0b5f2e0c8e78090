"""Every way in which programs save a file: each becomes one PATCH of the changed field, and nothing else."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from writing import in_terminal, run, writing

_TROUBLE = re.compile(r"W1[0-9]: |E\d+:|changed since")


@pytest.fixture(scope="module")
def room(changing, tmp_path_factory):
    with writing(changing, tmp_path_factory.mktemp("editors") / "home") as room:
        yield room


@pytest.fixture
def session(room, request):
    """A session of one's own, with a probe that hangs from it."""
    new = {"subject": "KS004", "lab": "cortexlab", "start_time": "2024-06-01T10:00:00", "narrative": "before it"}
    session = room.asking.send("POST", "/sessions", {**new, "json": {"a": [1, 2, {"b": None}]}})
    session = session["url"].rsplit("/", 1)[-1]
    if "unlink" not in request.node.name:
        room.asking.send("POST", "/insertions", {"name": "probe00", "session": session})
    return session


def vim(*settings):
    def save(path, old, new):
        options = [part for setting in settings for part in ("-c", f"set {setting}")]
        keys = f":%s/{old}/{new}/\r:w\r:checktime\r:w\r:checktime\r:q\r"
        seen = in_terminal("vim", "-u", "NONE", "-N", *options, str(path), keys=keys)
        assert not _TROUBLE.search(seen), seen

    return save


def nano(*options):
    def save(path, old, new):
        # Search and replace: word, replacement, all; write out; leave.
        keys = f"\x1c{old}\r{new}\ra" if "--modernbindings" not in options else ""
        keys += "\x0f\r\x18"
        in_terminal("nano", "--ignorercfiles", *options, str(path), keys=keys)

    return save


def emacs(*settings):
    def save(path, old, new):
        forms = [
            *[f"(setq {setting})" for setting in settings],
            f'(find-file "{path}")',
            f'(while (search-forward "{old}" nil t) (replace-match "{new}"))',
            "(save-buffer)",
            '(unless (verify-visited-file-modtime (current-buffer)) (error "changed behind its back"))',
        ]
        arguments = [part for form in forms for part in ("--eval", form)]
        subprocess.run(["emacs", "-Q", "--batch", *arguments], check=True, timeout=60, capture_output=True)

    return save


def through_a_scratch_file(suffix, *, backup=None, sync=True):
    """What gedit and other GTK programs, VS Code's atomic save, jq users and the atomicwrites packages do."""

    def save(path, old, new):
        content = path.read_text().replace(old, new)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=".goutputstream-", suffix=suffix)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if backup:
            os.rename(path, str(path) + backup)
        os.replace(scratch, path)
        if backup:
            os.unlink(str(path) + backup)

    return save


def shell(line):
    def save(path, old, new):
        run("bash", "-c", line, env={**os.environ, "FILE": path.name, "OLD": old, "NEW": new}, cwd=path.parent)

    return save


def outside(line):
    """A shell line that has a changed copy in another directory: $COPY."""

    def save(path, old, new):
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / path.name
            copy.write_text(path.read_text().replace(old, new))
            os.utime(copy, (1, 1))  # rsync passes over files of the same size and time
            run("bash", "-c", line, env={**os.environ, "FILE": str(path), "COPY": str(copy)}, cwd=path.parent)

    return save


def python_write(path, old, new):
    content = path.read_text().replace(old, new)
    with open(path, "w") as file:
        file.write(content)


def python_in_pieces(path, old, new):
    content = path.read_bytes().replace(old.encode(), new.encode())
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    for start in reversed(range(0, len(content), 7)):
        os.pwrite(descriptor, content[start : start + 7], start)
    os.close(descriptor)


def python_seek(path, old, new):
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(content.index(old.encode()))
        rest = content[content.index(old.encode()) :].replace(old.encode(), new.encode())
        file.write(rest)
        file.truncate()


def python_mmap(path, old, new):
    """Same length: mapped files do not grow."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        start = view.find(old.encode())
        view[start : start + len(old)] = new.encode()
        view.flush()


def python_append(path, old, new):
    content = path.read_text().replace(old, new)
    os.truncate(path, 0)
    with open(path, "w"):
        pass
    with open(path, "w") as file:
        file.write(content[:10])
        file.flush()
        with open(path, "a") as other:
            other.write(content[10:])


def unlink_and_create(path, old, new):
    content = path.read_text().replace(old, new)
    os.unlink(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, content.encode())
    os.close(descriptor)


def git_apply(path, old, new):
    content = path.read_text()
    with tempfile.TemporaryDirectory() as directory:
        for name, text in (("a", content), ("b", content.replace(old, new))):
            (Path(directory) / name).mkdir()
            (Path(directory) / name / path.name).write_text(text)
        done = subprocess.run(
            ["git", "diff", "--no-index", f"a/{path.name}", f"b/{path.name}"],
            cwd=directory,
            capture_output=True,
            check=False,
        )
    run("git", "apply", "--unsafe-paths", "-p2", "-", input=done.stdout.decode(), cwd=path.parent)


def visual_studio_code(path, old, new):
    """Truncates, writes and syncs in place."""
    content = path.read_text().replace(old, new)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(descriptor, content.encode())
    os.fdatasync(descriptor)
    os.close(descriptor)


METHODS = {
    **{
        f"vim {name}": vim(*settings)
        for name, settings in {
            "backupcopy=yes": ["backupcopy=yes"],
            "backupcopy=no": ["backupcopy=no"],
            "backupcopy=auto": ["backupcopy=auto"],
            "backupcopy=auto,breaksymlink": ["backupcopy=auto,breaksymlink"],
            "backupcopy=auto,breakhardlink": ["backupcopy=auto,breakhardlink"],
            "without swap and backup": ["noswapfile", "nobackup", "nowritebackup"],
            "with backup": ["backup", "backupcopy=no"],
            "with a copy as backup": ["backup", "backupcopy=yes"],
            "without swap": ["noswapfile"],
        }.items()
    },
    "nano": nano(),
    "nano with backup": nano("--backup"),
    "nano with locking": nano("--locking"),
    "emacs": emacs("make-backup-files nil"),
    "emacs with backup": emacs("make-backup-files t", "backup-by-copying nil"),
    "emacs with a copy as backup": emacs("make-backup-files t", "backup-by-copying t"),
    "gedit": through_a_scratch_file(""),
    "gedit with backup": through_a_scratch_file("", backup="~"),
    "kate": through_a_scratch_file(".json"),
    "os.replace": through_a_scratch_file(".tmp", sync=False),
    "visual studio code": visual_studio_code,
    "sed -i": shell('sed -i "s/$OLD/$NEW/" "$FILE"'),
    "sed -i with backup": shell('sed -i.bak "s/$OLD/$NEW/" "$FILE"'),
    "perl -i": shell('perl -i -pe "s/$OLD/$NEW/" "$FILE"'),
    "sponge": shell('sed "s/$OLD/$NEW/" "$FILE" | sponge "$FILE"'),
    "tee": shell('sed "s/$OLD/$NEW/" "$FILE" > .copy; tee "$FILE" < .copy > /dev/null; rm .copy'),
    "redirection": shell('sed "s/$OLD/$NEW/" "$FILE" > .copy && cat .copy > "$FILE"; rm .copy'),
    "jq and mv": shell('jq ".narrative = \\"$NEW\\"" "$FILE" > tmp.json && mv tmp.json "$FILE"'),
    "jq and mv from elsewhere": shell('jq ".narrative = \\"$NEW\\"" "$FILE" > $HOME/t.json && mv $HOME/t.json "$FILE"'),
    "the field alone": shell('echo "{\\"narrative\\": \\"$NEW\\"}" > "$FILE"'),
    "printf in two programs": shell('(printf "{\\"narrative\\""; /usr/bin/printf ": \\"$NEW\\"}") > "$FILE"'),
    "cp": outside('cp "$COPY" "$FILE"'),
    "cp -f": outside('cp -f "$COPY" "$FILE"'),
    "cp -p": outside('cp -p "$COPY" "$FILE"'),
    "cp --remove-destination": outside('cp --remove-destination "$COPY" "$FILE"'),
    "mv": outside('mv "$COPY" "$FILE"'),
    "install": outside('install -m 644 "$COPY" "$FILE"'),
    "dd": outside('dd if="$COPY" of="$FILE" status=none'),
    "rsync": outside('rsync "$COPY" "$FILE"'),
    "rsync -a": outside('rsync -a "$COPY" "$FILE"'),
    "rsync --inplace": outside('rsync --inplace "$COPY" "$FILE"'),
    "rsync --inplace --no-whole-file": outside('rsync --inplace --no-whole-file "$COPY" "$FILE"'),
    "git apply": git_apply,
    "unlink and create": unlink_and_create,
    "python write": python_write,
    "python in pieces": python_in_pieces,
    "python seek": python_seek,
    "python mmap": python_mmap,
    "python append": python_append,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_save_is_one_patch_of_the_changed_field(room, session, method, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    old, new = "before it", "behind it"
    path = room.file("sessions", session)
    before = room.record("sessions", session)
    here = tmp_path / "here"
    here.mkdir()
    plain = here / path.name

    path.read_bytes()
    shutil.copyfile(path, plain)
    METHODS[method](plain, old, new)
    written = len(room.log())
    room.demo.clear_requests()
    METHODS[method](path, old, new)

    assert path.read_bytes() == room.shown("sessions", session)
    assert path.stat().st_size == len(room.shown("sessions", session))
    assert room.writes() == [("PATCH", f"/sessions/{session}")]
    after = room.record("sessions", session)
    assert {name for name in after if after[name] != before[name]} == {"narrative", "auto_datetime"}
    assert after["narrative"] == new
    assert [(entry["fields"], entry["state"]) for entry in room.log()[written:]] == [(["narrative"], "done")]
    left_elsewhere = {name for name in os.listdir(here) if name != plain.name}
    records = {f"{row['id']}.json" for row in room.asking.rows("/sessions")}
    assert set(os.listdir(path.parent)) - records == left_elsewhere
    for name in left_elsewhere:
        os.unlink(path.parent / name)
    assert room.writes() == [("PATCH", f"/sessions/{session}")]


def test_none_of_it_left_an_error(room):
    told = room.errors()
    assert not [line for line in told.splitlines() if "stays here" not in line]
