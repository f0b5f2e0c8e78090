"""What programs do on a drive, drawn by chance: each step ends in a result or in an errno with a sentence."""

from __future__ import annotations

import errno
import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from pathlib import Path

SLOWEST = 20.0
"""Seconds that a step may take on a drive with a deadline of 5 s: four requests, and what a busy machine adds."""
EXPECTED = {
    *(errno.ENOENT, errno.EIO, errno.EACCES, errno.EINVAL, errno.EPERM, errno.EAGAIN, errno.ETIMEDOUT, errno.ENODATA),
    *(errno.ESTALE, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EFBIG, errno.EROFS, errno.E2BIG, errno.ERANGE),
    *(errno.ENAMETOOLONG, errno.EISDIR),
}
UNTOLD = {errno.EISDIR, errno.ENOENT, errno.ENODATA, errno.ENOTDIR, errno.ERANGE, errno.E2BIG, errno.ENAMETOOLONG}
"""Numbers that can mean just that a name or an attribute is not there."""


class Program:
    """One that uses a drive whose server may say anything."""

    def __init__(self, drive: Path, known: dict[str, list[str]]) -> None:
        self.drive = drive
        self.known = known
        """Names that were there before, by directory."""
        self.failures: dict[str, int] = {}
        self.steps = 0
        self.slowest = 0.0

    def run(self, chance: random.Random, count: int, *, writes: bool) -> None:
        """Some steps."""
        steps = [self.list, self.list, self.read, self.read, self.attributes, self.query, self.describe]
        steps += [self.link, self.walk, self.read_data, self.read_data, self.table, self.picture]
        steps += [self.save, self.make, self.remove] if writes else []
        for _ in range(count):
            self.attempt(chance.choice(steps), chance)

    def attempt(self, step, chance: random.Random) -> None:
        """One step: the errno of its failure is an expected one, and people are told."""
        began, stamp = time.monotonic(), time.time()
        self.steps += 1
        try:
            step(chance)
        except OSError as error:
            self.judge(step, error, stamp)
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        assert took < SLOWEST, f"{step.__name__} took {took:.1f} s"

    def judge(self, step, failure: OSError, stamp: float) -> None:
        """Fail the test where the failure is none that people understand."""
        name = errno.errorcode.get(failure.errno, str(failure.errno))
        self.failures[name] = self.failures.get(name, 0) + 1
        assert failure.errno in EXPECTED, f"{step.__name__}: {failure!r}"
        told = failure.errno in UNTOLD or self.told_since(stamp)
        assert told, f"{step.__name__}: {failure!r} and no sentence in errors.log"

    def told_since(self, stamp: float) -> bool:
        """Whether errors.log has a line of this time or later: its stamps are whole seconds."""
        lines = (self.drive / ".alyxfs/errors.log").read_text().splitlines()
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(stamp))
        return any(line[:19] >= since for line in lines[-20:])

    def name_in(self, chance: random.Random, folder: str) -> Path:
        return self.drive / folder / chance.choice(self.known[folder])

    def endpoint(self, chance: random.Random) -> str:
        return chance.choice([name for name in self.known if "/" not in name and name not in {"", "data"}])

    # Steps

    def list(self, chance):
        with os.scandir(self.drive / chance.choice(list(self.known))) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)

    def read(self, chance):
        content = self.name_in(chance, self.endpoint(chance)).read_bytes()
        json.loads(content or b"null")  # that of an action that was not taken is empty

    def attributes(self, chance):
        path = self.name_in(chance, chance.choice([name for name in self.known if name]))
        for name in os.listxattr(path, follow_symlinks=False):
            os.getxattr(path, name, follow_symlinks=False)

    def query(self, chance):
        query = chance.choice(
            ["sessions/lab=cortexlab", "subjects/lab=cortexlab/sex=M", "datasets/collection=alf", "projects/name=x",
             "sessions/django=number,1", "sessions/subject=KS001/number=1", "notes/django=text__icontains,a"]
        )  # fmt: skip
        for name in os.listdir(self.drive / query)[:2]:
            (self.drive / query / name).read_bytes()

    def describe(self, chance):
        json.loads((self.drive / self.endpoint(chance) / ".schema.json").read_bytes())
        (self.drive / self.endpoint(chance) / ".help.md").read_text()

    def link(self, chance):
        path = self.name_in(chance, chance.choice(["sessions", "subjects", "datasets", "insertions"]))
        os.stat(os.readlink(path.with_name(path.name.removesuffix(".json"))).replace("..", str(self.drive), 1))

    def walk(self, chance):
        path = self.drive / "data"
        for _ in range(8):
            if not path.is_dir() or not (names := os.listdir(path)):
                return
            path /= chance.choice(names)

    def read_data(self, chance):
        folder = chance.choice([name for name in self.known if name.startswith("data/")])
        path = self.name_in(chance, folder)
        with path.open("rb") as file:
            while file.read(1 << 18):
                pass

    def table(self, chance):
        (self.drive / "data" / chance.choice(["sessions.pqt", "datasets.pqt"])).read_bytes()

    def picture(self, chance):
        path = self.name_in(chance, "notes")
        path.with_name(path.name.removesuffix(".json") + chance.choice([".png", ".jpg"])).read_bytes()

    def save(self, chance):
        path = self.name_in(chance, chance.choice(["sessions", "subjects"]))
        field = "narrative" if path.parent.name == "sessions" else "description"
        path.write_text(json.dumps({field: f"written {chance.random()}"}))

    def make(self, chance):
        if chance.random() < 0.5:
            subject = chance.choice(self.known["subjects"]).removesuffix(".json")
            document = {"subject": subject, "weight": 20 + chance.random()}
            (self.drive / "weighings" / "new.json").write_text(json.dumps(document))
        else:
            name = f"tag{chance.randrange(10**9)}"
            (self.drive / "tags" / f"{name}.json").write_text(json.dumps({"description": "made by a test"}))

    def remove(self, chance):
        names = [name for name in os.listdir(self.drive / "tags") if name.startswith("tag")]
        if names:
            (self.drive / "tags" / chance.choice(names)).unlink()
