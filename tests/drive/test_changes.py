"""A data file that changes on its server while programs have it open: what is old is old, and the rest is an error.

``ALYXFS_CHANGES=500`` runs the long form of the generated cases (some minutes).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import subprocess
import tarfile
from dataclasses import dataclass, field

import pytest

from fault_server import FaultServer, File
from mapping import mapped
from mounted import mounted, until

WAYS = ({}, {}, {"length": False}, {"conditions": False}, {"conditions": False, "total": False})
"""How the server sends what the file has become."""
CASES = int(os.environ.get("ALYXFS_CHANGES", "40"))
PAGE = 4096
LATER = "Wed, 04 Dec 2019 10:00:00 GMT"
PIECES = (PAGE, 32_768, 65_536, 131_072, 262_144, 1_048_576)
VALIDATORS = (
    {"etag": '"v2"', "last_modified": LATER},
    {"etag": 'W/"v2"', "last_modified": LATER},
    {"etag": None, "last_modified": LATER},
    {"etag": '"v2"', "last_modified": None},
)


@pytest.fixture(scope="module")
def server():
    with FaultServer() as server:
        yield server


@contextlib.contextmanager
def stale():
    """What a program gets that reads a file which is another one now."""
    with pytest.raises(OSError, match="Stale") as caught:
        yield
    assert caught.value.errno == errno.ESTALE


@dataclass
class Handle:
    """An open file: what it gave so far must all be of one content."""

    descriptor: int
    old: bytes
    failures: int = 0
    position: int = 0

    def read(self, offset: int, size: int) -> None:
        """All of the old bytes, or at least the first of them, or an error; after an error nothing but errors."""
        try:
            found = os.pread(self.descriptor, size, offset)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            self.failures += 1
            return
        assert not self.failures, "read again after an error"
        expected = self.old[offset : offset + size]
        assert found == expected[: len(found)], f"not what was there at {offset}"
        if len(found) < len(expected):
            assert found, f"nothing at {offset}, though the file goes on"
            with stale():
                os.pread(self.descriptor, size - len(found), offset + len(found))
            self.failures += 1

    def follow(self, size: int) -> None:
        """Read on where the last such read ended."""
        self.read(self.position, size)
        self.position = (self.position + size) % len(self.old)


@dataclass
class Case:
    """One file, one change, some programs; all of it follows from the seed."""

    seed: int
    handles: list[Handle] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.old = self.chance.randbytes(self.chance.choice([262_144, 1_000_003, 3_000_000, 3_000_000]))
        length = {
            "same": len(self.old),
            "grown": len(self.old) * 2 + 5,
            "shrunk": len(self.old) // 2 + 1,
            "cut": len(self.old) - 1,
            "tiny": 10,
        }[self.chance.choice(["same", "same", "grown", "shrunk", "cut", "tiny"])]
        self.new = self.chance.randbytes(length)
        self.validators = self.chance.choice(VALIDATORS)
        self.way = self.chance.choice(WAYS)

    def step(self) -> None:
        """One of the programs reads."""
        handle = self.chance.choice(self.handles)
        size = self.chance.choice(PIECES)
        if self.chance.random() < 0.5:
            handle.follow(size)
        else:
            handle.read(self.chance.randrange(len(self.old)) // PAGE * PAGE, size)

    @property
    def is_noticed(self) -> bool:
        return any(handle.failures for handle in self.handles)


def whole(path):
    """The content as it is now; who opened the file a moment too early opens it again."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            return path.read_bytes()
    return path.read_bytes()


def reads_around_a_change(case, path, change):
    """Read by all programs of a case, of which one has mapped the file, before, at and after the change."""
    with mapped(path) as mapping:
        for _ in range(case.chance.randrange(6)):
            case.step()
        mapping.read(0, case.chance.choice([1, PAGE, 50_000]))
        change()
        for _ in range(25):
            case.step()
            start = case.chance.randrange(len(case.old))
            if case.chance.random() < 0.3 and mapping.is_alive:
                assert mapping.read(start, min(start + 5000, len(case.old))) in {None, case.old[start : start + 5000]}
        if case.is_noticed and mapping.is_alive:  # what it has in memory is old, the rest cannot be had any more
            assert mapping.read(0, len(case.old)) in {None, case.old}


@pytest.mark.timeout(120 + 2 * CASES)
def test_every_read_is_of_the_old_content_or_an_error_and_a_new_open_is_of_the_new_one(served, server, own_demo, home):
    cases = [Case(seed) for seed in range(CASES)]
    files = [served.add(f"case{case.seed}.bin", case.old, digest=None) for case in cases]
    with mounted(own_demo.url, home) as drive:
        for case, file in zip(cases, files, strict=True):
            print(f"seed {case.seed}: {len(case.old)} bytes become {len(case.new)}, {case.validators}, {case.way}")
            path = drive / file.place
            for _ in range(case.chance.choice([1, 2, 3])):
                case.handles.append(Handle(os.open(path, os.O_RDONLY), case.old))
            changed = File(case.new, **case.validators, **case.way)
            reads_around_a_change(case, path, lambda key=file.key, changed=changed: server.files.update({key: changed}))
            if case.is_noticed:
                for handle, size in itertools.product(case.handles, (PAGE, 1_048_576)):
                    handle.read(0, size)
                    handle.read(len(case.old) // 2, size)
                assert all(handle.failures for handle in case.handles), "one does not know of the change"
                if case.way.get("total", True):  # else nobody can know how long it is now
                    assert whole(path) == case.new
                    assert path.stat().st_size == len(case.new)
            else:
                assert whole(path) in {case.old, case.new}
            for handle in case.handles:
                os.close(handle.descriptor)
    # Not where all of a file had been asked for before: who reads from the beginning asks for much at once.
    assert sum(case.is_noticed for case in cases) >= CASES / 4, "many are noticed, or this shows nothing"


def test_what_a_program_has_mapped_stays_as_it_was_or_ends_it(served, server, own_demo, home):
    """There must be neither bytes of the new content nor zeros, however much smaller it is."""
    old, new = random.Random(1).randbytes(20_000_000), random.Random(2).randbytes(10_000)
    file = served.add("mapped.bin", old, digest=None)
    with mounted(own_demo.url, home) as drive, mapped(drive / file.place) as one, mapped(drive / file.place) as other:
        assert one.read(0, 5000) == old[:5000]
        server.files[file.key] = File(new, etag='"v2"', last_modified=LATER)
        assert one.read(len(old) // 2, len(old) // 2 + 1) is None, "SIGBUS"
        assert other.read(0, 5000) == old[:5000], "it is in memory"
        assert other.read(len(old) - 5000, len(old)) is None
        with mapped(drive / file.place) as third:
            assert third.size == len(new)
            assert third.read(0, len(new)) == new


def test_a_change_that_one_program_meets_is_an_error_for_all_and_not_for_who_opens_it_then(
    served, server, own_demo, home
):
    old, new = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(2_000_000)
    file = served.add("met.bin", old, digest=None)
    with mounted(own_demo.url, home) as drive:
        path = drive / file.place
        with open(path, "rb", buffering=0) as first, open(path, "rb", buffering=0) as second:
            assert os.pread(second.fileno(), PAGE, 0) == old[:PAGE]
            server.files[file.key] = File(new, etag='"v2"', last_modified=LATER)
            with stale():
                os.pread(first.fileno(), PAGE, 2_500_000)
            for one in (first, second):
                with stale():
                    os.pread(one.fileno(), PAGE, 0)
                with stale():
                    os.fstat(one.fileno())
            with open(path, "rb", buffering=0) as third:
                assert os.fstat(third.fileno()).st_size == len(new)
                assert third.read(PAGE) == new[:PAGE]
                for one in (first, second):
                    with stale():
                        os.pread(one.fileno(), PAGE, 0)
                assert os.pread(third.fileno(), len(new), 0) == new
        assert (
            "changed on its server while it was being read; open it again."
            in (drive / ".alyxfs" / "errors.log").read_text()
        )


@pytest.mark.parametrize("command", [["cp"], ["cp", "--sparse=always"], ["dd", "bs=4096"], ["dd", "bs=1M"], ["tar"]])
def test_a_copy_of_a_file_that_changes_meanwhile_fails_or_is_whole(served, server, own_demo, home, tmp_path, command):
    old, new = random.Random(1).randbytes(30_000_000), random.Random(2).randbytes(30_000_000)
    target = tmp_path / "copy"
    name = "-".join(command).replace("=", "") + ".bin"
    file = served.add(name, old, digest=None)
    server.bytes_per_second = 6_000_000
    try:
        with mounted(own_demo.url, home) as drive:
            path = drive / file.place
            arguments = {
                "cp": [*command, path, target],
                "dd": [*command, f"if={path}", f"of={target}"],
                "tar": ["tar", "-C", path.parent, "-cf", target, path.name],
            }[command[0]]
            before = server.sent
            copying = subprocess.Popen(arguments, stderr=subprocess.PIPE)
            until(lambda: server.sent > before + 1_000_000 or copying.poll() is not None, "part of the file was sent")
            server.files[file.key] = File(new, etag='"v2"', last_modified=LATER)
            words = copying.communicate(timeout=60)[1]
            assert copying.returncode != 0, "the copy was made before the file changed: nothing is shown"
            # tar takes an error after some bytes of a block for the end of the file; it says so, and fails.
            assert b"Stale file handle" in words or (command == ["tar"] and b"File shrank" in words)
            server.bytes_per_second = None
            subprocess.run(arguments, check=True, timeout=60, capture_output=True)
            if command == ["tar"]:
                with tarfile.open(target) as archive:
                    assert archive.extractfile(name).read() == new
            else:
                assert target.read_bytes() == new
    finally:
        server.bytes_per_second = None
