"""A snapshot: what one drive knows, mounted elsewhere without a request, the same for everybody."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import stat
import time
import zipfile
import zlib

import pytest
import trio

from alyxfs import errors
from alyxfs.alyx.snapshot_file import read_manifest, unpack, unpacked
from alyxfs.cli.drive import server_of_snapshot
from alyxfs.demo.server import running_demo
from mounted import mounted, run_alyxfs

FOLDER = "data/cortexlab/Subjects"
READ = f"{FOLDER}/KS001/2023-01-02/001/alf/_ibl_wheel.position.npy"
UNREAD = f"{FOLDER}/KS001/2023-01-03/001/alf/_ibl_wheel.position.npy"
TOKEN = re.compile(r"\b[0-9a-f]{40}\b")
NOBODY = {"ALYXFS_USER": "", "ALYXFS_PASSWORD": ""}
"""A node that knows no account."""


def looked_at(drive):
    found = {directory: sorted(os.listdir(drive / directory)) for directory in ("labs", "subjects", "data", FOLDER)}
    found["query"] = sorted(os.listdir(drive / "sessions/lab=cortexlab/number=1"))
    for name in ("labs/cortexlab.json", "subjects/KS001.json", READ, "data/sessions.pqt"):
        found[name] = (drive / name).read_bytes()
    found["sizes"] = os.stat(drive / READ).st_size
    session = os.getxattr(drive / READ.rpartition("/alf/")[0], "user.alyx.session").decode()
    found["session"] = (drive / f"sessions/{session}.json").read_bytes()
    found["link"] = os.readlink(drive / f"sessions/{session}")
    return found


def status(drive):
    return json.loads((drive / ".alyxfs/status.json").read_bytes())


def of_api(demo):
    return [entry["path"] for entry in demo.requests() if not entry["path"].startswith("/data_files")]


@pytest.fixture(scope="module")
def made(demo, tmp_path_factory):
    """A snapshot, what was seen when it was made, and the token of who made it."""
    home = tmp_path_factory.mktemp("maker") / "home"
    file = home.parent / "lab.snapshot"
    with mounted(demo.url, home, "--keep-token") as drive:
        seen = looked_at(drive)
        done = run_alyxfs(home, "snapshot", str(drive.path), str(file))
    assert done.returncode == 0, done.stderr
    assert "with the server's tables" in done.stdout
    (token,) = {
        found for path in (home / ".config").rglob("*") if path.is_file() for found in TOKEN.findall(path.read_text())
    }
    return file, seen, home, token


@pytest.fixture(scope="module")
def shown(demo, made, tmp_path_factory):
    """The snapshot, mounted by somebody else."""
    home = tmp_path_factory.mktemp("node") / "home"
    demo.clear_requests()
    with mounted(demo.url, home, "--snapshot", str(made[0]), **NOBODY) as drive:
        yield drive


def test_a_drive_of_a_snapshot_shows_the_same_and_asks_nothing(demo, made, shown):
    assert looked_at(shown) == made[1]
    assert len((shown / UNREAD).read_bytes()) == os.stat(shown / UNREAD).st_size, "its address is in the snapshot"
    assert of_api(demo) == []
    said = status(shown)
    assert said["api_requests"] == 0
    assert said["stale_since"] is None
    assert said["snapshot"]["file"] == str(made[0])


def test_what_is_not_in_the_snapshot_is_said_and_not_asked(demo, shown):
    with pytest.raises(OSError, match="No such file") as missing:
        (shown / "users/alice.json").read_bytes()
    assert missing.value.errno == errno.ENOENT
    with pytest.raises(OSError, match="No data") as unlisted:
        os.listdir(shown / "users")
    assert unlisted.value.errno == errno.ENODATA
    session = os.getxattr(shown / READ.rpartition("/alf/")[0], "user.alyx.session").decode()
    listed = set(os.listdir(shown / "sessions/lab=cortexlab/number=1")) - {f"{session}.json"}
    with pytest.raises(OSError, match="No data") as unopened:
        (shown / f"sessions/lab=cortexlab/number=1/{min(listed)}").read_bytes()
    assert unopened.value.errno == errno.ENODATA, "it is listed, and not known"
    told = (shown / ".alyxfs/errors.log").read_text()
    assert "is not in the snapshot" in told
    assert "mount without --snapshot" in told
    assert of_api(demo) == []


def test_a_refresh_is_refused(shown):
    done = run_alyxfs(shown.path.parent, "refresh", str(shown / "labs"))
    assert done.returncode == 1
    assert "shows a snapshot" in done.stderr


def test_no_secret_and_no_place_of_its_maker_is_in_a_snapshot(made, tmp_path):
    file, _, home, token = made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with zipfile.ZipFile(file) as members:
        members.extractall(tmp_path)
    store = (tmp_path / "known.sqlite").read_bytes()
    with sqlite3.connect(tmp_path / "known.sqlite") as known:
        names = [name for (name,) in known.execute("SELECT name FROM documents")]
        bodies = b"\n".join(
            zlib.decompress(body)
            for table in ("documents", "records", "listings")
            for (body,) in known.execute(f"SELECT body FROM {table}")
        )
    known.close()
    assert set(names) <= {"schema", "changes since the cache tables"}
    everything = file.read_bytes() + store + bodies + b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert len(token) > 20
    for secret in (token, str(home), str(file.parent), os.path.expanduser("~/.cache")):
        assert secret.encode() not in everything
    assert b"Secret access key" not in bodies


def test_the_server_is_not_needed(demo_directory, made, tmp_path):
    """Mounted by two who name no server, one after the other: unpacked once, in a moment."""
    home = tmp_path / "home"
    copy = tmp_path / "copied.snapshot"
    shutil.copy(made[0], copy)
    place = home / ".cache/alyxfs/snapshots"
    for _ in range(2):
        began = time.monotonic()
        # Of the two places that are given, mounted() takes the first for the server.
        with mounted("", home, "--snapshot", str(copy), only_directory=True, **NOBODY) as drive:
            assert time.monotonic() - began < 20
            assert sorted(os.listdir(drive / FOLDER)) == made[1][FOLDER]
            with pytest.raises(OSError, match="denied") as refused:
                (drive / UNREAD).read_bytes()
            assert refused.value.errno == errno.EACCES, "a file names a server of this machine, and no user did"
            assert "--allow-networks" in (drive / ".alyxfs/errors.log").read_text()
    (folder,) = place.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_drives_of_one_snapshot_share_what_is_unpacked(demo, made, shown):
    """The second one as a line in fstab has it, where the settings allow other drives to be written to."""
    home = shown.path.parent
    settings = home / ".config/alyxfs/settings.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("rw = true\nwatch = 5.0\n")
    demo.clear_requests()
    with mounted(demo.url, home, "-o", f"noauto,snapshot={made[0]}", directory=home / "other", **NOBODY) as other:
        assert not status(other)["writable"]
        assert (other / READ).read_bytes() == made[1][READ]
        assert len(list((home / ".cache/alyxfs/snapshots").iterdir())) == 1
    assert of_api(demo) == []


def test_a_snapshot_is_not_written_to(made, home):
    done = run_alyxfs(home, "mount", "--snapshot", str(made[0]), "--rw", str(home / "drive"))
    assert done.returncode == 2
    assert "--rw, --stage and --watch do not go with it" in done.stderr


def test_another_server_is_not_meant(made):
    with pytest.raises(errors.ConfigurationError, match=r"is a snapshot of http://127.0.0.1.*, not of https://alyx"):
        server_of_snapshot(made[0], "alyx.example.org")


def test_what_was_unpacked_goes_after_a_month_unless_it_is_in_use(demo, made, home, tmp_path):
    place = home / ".cache/alyxfs/snapshots"
    other = tmp_path / "other.snapshot"
    rewritten(made[0], other, lambda manifest: manifest.update(made="2020-01-01T00:00:00Z"))

    def make_old():
        for folder in place.iterdir():
            os.utime(folder, (1, 1))

    with mounted(demo.url, home, "--snapshot", str(made[0]), **NOBODY) as drive:
        (first,) = place.iterdir()
        make_old()
        with mounted(demo.url, home, "--snapshot", str(other), directory=home / "second", **NOBODY):
            assert len(list(place.iterdir())) == 2
        assert (drive / "data/sessions.pqt").read_bytes() == made[1]["data/sessions.pqt"]
    make_old()
    (second,) = set(place.iterdir()) - {first}
    with mounted(demo.url, home, "--snapshot", str(other), **NOBODY):
        assert set(place.iterdir()) == {first, second}, "nothing new is unpacked, nothing is removed"
    third = tmp_path / "third.snapshot"
    rewritten(made[0], third, lambda manifest: manifest.update(made="2021-01-01T00:00:00Z"))
    make_old()
    with mounted(demo.url, home, "--snapshot", str(third), **NOBODY):
        assert not {first, second} & set(place.iterdir())


def test_a_server_without_tables_gives_what_was_looked_at(demo_directory, tmp_path):
    with running_demo(demo_directory, largest_file_mb=2, control=True) as demo:
        demo.control(fail={"status": 404, "count": 1000, "path_prefix": "/cache.zip"})
        with mounted(demo.url, tmp_path / "maker") as drive:
            files = sorted(os.listdir(drive / READ.rpartition("/")[0]))
            before = (drive / READ).read_bytes()
            done = run_alyxfs(tmp_path / "maker", "snapshot", str(drive.path), str(tmp_path / "snapshot"))
        assert "without tables" in done.stdout
        demo.clear_requests()
        with mounted(demo.url, tmp_path / "node", "--snapshot", str(tmp_path / "snapshot"), **NOBODY) as drive:
            assert sorted(os.listdir(drive / READ.rpartition("/")[0])) == files
            assert (drive / READ).read_bytes() == before
            with pytest.raises(OSError, match=r"No such file|No data"):
                os.listdir(drive / "data/harborlab/Subjects")
        assert of_api(demo) == []


def test_of_a_drive_that_was_only_mounted_data_is_there_all_the_same(demo, made, tmp_path):
    with mounted(demo.url, tmp_path / "maker") as drive:
        assert run_alyxfs(tmp_path / "maker", "snapshot", str(drive.path), str(tmp_path / "snapshot")).returncode == 0
    demo.clear_requests()
    with mounted(demo.url, tmp_path / "node", "--snapshot", str(tmp_path / "snapshot"), **NOBODY) as drive:
        assert sorted(os.listdir(drive / "data")) == made[1]["data"]
        assert (drive / READ).read_bytes() == made[1][READ]
        with pytest.raises(OSError, match="No data"):
            os.listdir(drive / "sessions")
    assert of_api(demo) == []


def with_store(source, target, change):
    """A snapshot whose store somebody has changed, with the hash that goes with it."""
    path = target.with_suffix(".sqlite")
    with zipfile.ZipFile(source) as members:
        path.write_bytes(members.read("known.sqlite"))
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        change(store)
    content = path.read_bytes()

    def tell(manifest):
        manifest["members"]["known.sqlite"] = [len(content), hashlib.sha256(content).hexdigest()]
        return {"known.sqlite": content}

    rewritten(source, target, tell)


def changed_delta(change):
    def in_store(store):
        ((body,),) = store.execute("SELECT body FROM documents WHERE name = 'changes since the cache tables'")
        delta = json.loads(zlib.decompress(body))
        change(delta)
        packed = zlib.compress(json.dumps(delta).encode())
        store.execute("UPDATE documents SET body = ? WHERE name = 'changes since the cache tables'", (packed,))

    return in_store


NUMBERED = "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    "change",
    [
        changed_delta(lambda delta: delta["places"].append([NUMBERED, [NUMBERED, "lab", "mouse", "..", "001"]])),
        changed_delta(
            lambda delta: delta["places"].append([NUMBERED, [NUMBERED, "lab", "mouse", "2020-01-01", "../x"]])
        ),
        changed_delta(lambda delta: delta["places"].append([NUMBERED, [NUMBERED, "lab", 7, "2020-01-01", "001"]])),
        changed_delta(lambda delta: delta["files"].append(["../x", NUMBERED, None])),
        changed_delta(lambda delta: delta["files"].append([NUMBERED, NUMBERED, [7] * 9])),
        changed_delta(lambda delta: delta.update(places={"a": 1})),
        lambda store: store.execute("UPDATE documents SET body = ?", (zlib.compress(b"[1, 2"),)),
    ],
)
def test_what_no_drive_puts_into_a_snapshot_is_refused_at_the_mount(demo, made, home, change):
    file = home / "made.snapshot"
    with_store(made[0], file, change)
    with (
        pytest.raises(AssertionError, match=r"alyxfs: What is in the snapshot cannot be used: .*"),
        mounted(demo.url, home, "--snapshot", str(file), **NOBODY),
    ):
        pass


@pytest.mark.parametrize("rows", [b"[[1, 2, 3]]", b'[["a", "b", "c", "d", []]]', b"[", b'[["../a", "..", 1, 2, []]]'])
def test_strange_rows_and_records_in_a_snapshot_are_not_there(demo, made, home, rows):
    def change(store):
        store.execute("UPDATE listings SET body = ?", (zlib.compress(rows),))
        store.execute("UPDATE records SET body = ?", (zlib.compress(rows),))

    file = home / "made.snapshot"
    with_store(made[0], file, change)
    with mounted(demo.url, home, "--snapshot", str(file), **NOBODY) as drive:
        assert os.listdir(drive / "data")
        for name in ("labs", "subjects", "sessions/lab=cortexlab/number=1"):
            with contextlib.suppress(OSError):
                for each in os.listdir(drive / name):
                    assert each not in {"..", "."}
                    with pytest.raises(OSError, match=r"No data|No such"):
                        (drive / name / each).read_bytes()
        assert status(drive)["defects"] == 0


def rewritten(source, target, change):
    """A snapshot whose manifest is another one; ``change`` may also add members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        manifest = json.loads(old.read("snapshot.json"))
        more = change(manifest) or {}
        new.writestr("snapshot.json", json.dumps(manifest))
        for name in old.namelist()[1:]:
            if name not in more:
                new.writestr(name, old.read(name))
        for name, content in more.items():
            new.writestr(name, content)


def too_large(manifest):
    manifest["members"]["known.sqlite"][0] = 10**15


def elsewhere(manifest):
    manifest["members"]["../../../escaped"] = [3, "0" * 64]
    return {"../../../escaped": b"bad"}


def other_content(manifest):
    return {"known.sqlite": b"SQLite format 3\0" + bytes(1000)}


def no_store(manifest):
    del manifest["members"]["known.sqlite"]


def of_the_future(manifest):
    manifest["alyxfs_snapshot"] = 99


def no_server(manifest):
    manifest["server"] = "file:///etc/passwd"


def bomb(manifest):
    return {"known.sqlite": bytes(64 * 1024**2)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (too_large, "which none does"),
        (elsewhere, "names what no snapshot has"),
        (other_content, "is not what was packed"),
        (no_store, "known.sqlite is missing"),
        (of_the_future, "is of another version"),
        (no_server, "is not the address of a server"),
        (bomb, "is not what was packed"),
    ],
)
def test_a_strange_snapshot_is_one_sentence(made, home, change, words):
    file, place = home / "strange.snapshot", home / "snapshots"
    rewritten(made[0], file, change)

    def read():
        server_of_snapshot(file, None)
        trio.run(unpacked, file, place)

    with pytest.raises(errors.ConfigurationError, match=words) as told:
        read()
    assert str(told.value).count(". ") <= 1
    assert not list(place.glob("*")), "nothing is left of it"
    assert not list(home.parent.glob("**/escaped"))


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.99])
def test_a_snapshot_that_was_cut_is_one_sentence(made, home, kept):
    file = home / "cut.snapshot"
    content = made[0].read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(errors.ConfigurationError, match="no snapshot of alyxfs, or it is damaged"):
        read_manifest(file)


def test_a_mount_of_what_is_no_snapshot_is_refused(made, home):
    file = home / "torn.snapshot"
    rewritten(made[0], file, other_content)
    done = run_alyxfs(home, "mount", "--snapshot", str(file), str(home / "drive"))
    assert done.returncode == 3
    assert "is not what was packed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (home / "drive").exists()


def test_every_flipped_byte_is_noticed_or_harmless(made, tmp_path):
    """Without mounts: the manifest and the members as they are read there."""
    content, chance = bytearray(made[0].read_bytes()), random.Random(18)
    whole = read_manifest(made[0])
    noticed = 0
    for number in range(60):
        changed = bytearray(content)
        position = chance.randrange(len(changed))
        changed[position] ^= 1 << chance.randrange(8)
        file, folder = tmp_path / "changed", tmp_path / str(number)
        file.write_bytes(changed)
        folder.mkdir(0o700)
        try:
            manifest = read_manifest(file)
            unpack._unpack(file, manifest, folder)
        except errors.ConfigurationError:
            noticed += 1
        else:
            assert manifest.members == whole.members
        shutil.rmtree(folder)
    assert noticed > 50


def test_in_a_directory_that_a_group_shares_the_group_reads_it(demo, tmp_path):
    home, shared = tmp_path / "home", tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2750)
    with mounted(demo.url, home) as drive:
        assert run_alyxfs(home, "snapshot", str(drive.path), str(shared / "a")).returncode == 0
        done = run_alyxfs(home, "snapshot", str(drive.path), str(tmp_path / "nowhere" / "a"))
    assert done.returncode == 3
    assert "no directory" in done.stderr
    assert stat.S_IMODE((shared / "a").stat().st_mode) == 0o640
    assert [path.name for path in shared.iterdir()] == ["a"]
