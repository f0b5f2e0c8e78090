"""What everyday tasks cost: requests for each, cold and again, beside ONE-api's own and the goal of each.

Counted in the demo's own log, so the figures are the same on every machine. A task runs on a drive of a person who has
looked into ``data/`` and its labs before, but has read nothing there ("cold"), then once more on the same drive
("again").
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mounted import mounted
from one_client import run_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alyxfs.demo.server import Demo
    from mounted import Mounted

SESSIONS_OPENED = 5
"""Those whose files the demo has; of most others it has the records alone."""
COLLECTION = "alf/probe00/pykilosort"
LARGE_MIB = 32
"""The size of the demo's recording whose requests are counted."""


OPTIONS = ("--keep-token", "--time-to-live", "3600")
"""A token is kept as by those who logged in, or whose ONE keeps one; a slow machine is to see nothing expire."""

CLIENT = """
from one.webclient import AlyxClient
client = AlyxClient(base_url=url, username="demo", password="demo", silent=True, cache_rest=None)
"""
"""ONE's client of the API, with nothing cached; its log-in counts, too."""
API = """
from one.api import ONE
one = ONE(base_url=url, username="demo", password="demo", silent=True, cache_dir=own, mode="remote", cache_rest=None)
"""
"""ONE itself, which looks for its cache tables and fetches them."""


@dataclass(frozen=True)
class Known:
    """What the tasks are about: looked up once, by another drive, so that it costs the tasks nothing."""

    session: str
    folder: str
    subject: str
    lab: str
    sessions: list[str]
    files: list[str]
    large: str


@dataclass(frozen=True)
class Task:
    """Something that people do, and how many requests it may cost cold; again it may cost none."""

    name: str
    asked: int
    """Of the API."""
    run: Callable[[Path, Known], object]
    ranges: int | None = None
    """Of the file server; None where each file that is read costs its own."""
    one: str | None = None
    """The same as a program of ONE; None where it has no like."""
    is_first: bool = False
    """Whether nothing is known of the server before."""
    is_mount: bool = False
    """Whether mounting is the task, or part of it."""
    is_repeated: bool = True
    """Whether it may cost nothing again."""


def _heads(drive: Path, known: Known) -> None:
    for path in known.files:
        with (drive / path).open("rb") as file:
            file.read(16)


def _links(drive: Path, known: Known) -> None:
    for name in os.listdir(drive / f"sessions/lab={known.lab}"):
        os.readlink(drive / "sessions" / name.removesuffix(".json"))


def _other_links(drive: Path, _known: Known) -> None:
    for endpoint in ("insertions", "subjects"):
        for name in os.listdir(drive / endpoint):
            with contextlib.suppress(OSError):  # of a session or lab without a place
                os.readlink(drive / endpoint / name.removesuffix(".json"))


def _one_session(drive: Path, known: Known) -> None:
    (drive / "sessions" / f"{known.session}.json").read_bytes()
    sum(path.stat().st_size for path in (drive / known.folder).rglob("*"))


def _grep(drive: Path, known: Known) -> None:
    for session in known.sessions[:50]:
        (drive / "sessions" / f"{session}.json").read_bytes()


def _load_object(drive: Path, known: Known) -> None:
    for path in sorted((drive / known.folder / COLLECTION).glob("spikes.*")):
        path.read_bytes()


def _ls_l(drive: Path, *names: str) -> None:
    for name in names:
        with os.scandir(drive / name) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)


def _du(drive: Path, known: Known) -> None:
    # Of a recording whose parts the database lists, and no server has, du says that it is not there, and ends with 1.
    du = ["du", "-s", str(drive / "data" / known.lab)]
    subprocess.run(du, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _listing_of_subject(drive: Path, known: Known) -> None:
    for path in (drive / known.subject).rglob("*"):
        with contextlib.suppress(OSError):  # a recording whose parts the database lists, and no server has
            path.lstat()


def _refresh(drive: Path, _known: Known) -> None:
    subprocess.run([sys.executable, "-m", "alyxfs", "refresh", str(drive / "data")], check=True)


def _labs(drive: Path, _known: Known) -> None:
    look_around(drive)


def _read_large(drive: Path, known: Known) -> None:
    (drive / known.large).read_bytes()


def _listing(*names: str) -> Callable[[Path, Known], None]:
    def run(drive: Path, _known: Known) -> None:
        _ls_l(drive, *names)

    return run


def _listed(endpoint: str, filters: str = "") -> str:
    return f"{CLIENT}list(client.rest({endpoint!r}, 'list', {filters}))"


# Of a recording the size as a raw file is in a header of its own: a range. Of many the demo has the record alone, as a
# real server of its oldest sessions: then each asks once whether there is another copy.
TASKS = (
    Task("first mount", 3, _listing(), one=CLIENT + "client.list_endpoints()", is_first=True, is_mount=True),
    Task("first look into data/", 3, _listing("data"), one=API + "one.load_cache()", is_first=True),
    Task("first look into data/ and all labs", 9, _labs, is_first=True),
    Task("refresh of data/ where tables changed", 9, _refresh, is_first=True, is_repeated=False),
    Task("mount", 0, _listing(), one=CLIENT + "client.list_endpoints()", is_mount=True),
    Task("a file manager at the root", 0, _listing("")),
    Task("first bytes of a file of each session", 0, _heads),
    Task("one session and its files", 1, _one_session, 1, CLIENT + "client.rest('sessions', 'read', session)"),
    Task("load one object", 0, _load_object, 6, API + "one.load_object(session, 'spikes', collection=collection)"),
    Task("links of a query", 2, _links, ranges=0),
    Task("links of insertions and subjects", 6, _other_links, ranges=0),
    Task(
        "files of a subject",
        2,
        _listing_of_subject,
        one=_listed("datasets", "subject=subject"),
    ),
    Task("du of a lab", 15, _du, one=_listed("datasets", "lab=lab")),
    Task(
        "grep in 50 sessions",
        50,
        _grep,
        one=CLIENT + "for each in sessions[:50]: client.rest('sessions', 'read', each)",
    ),
    Task("list of all sessions", 2, _listing("sessions"), one=_listed("sessions")),
    Task("TAB in sessions/, subjects/, data/", 4, _listing("sessions", "subjects", "data")),
    Task(f"read a file of {LARGE_MIB} MiB", 0, _read_large, ranges=4),
)


@dataclass(frozen=True)
class Count:
    """How many requests a task took: of the API and of the file server, again, and with ONE."""

    task: Task
    asked: int
    ranges: int
    again: int
    one: int | None

    @property
    def met(self) -> bool:
        """Whether it is no more than promised."""
        allowed = self.task.ranges is None or self.ranges <= self.task.ranges
        return self.asked <= self.task.asked and allowed and (self.again == 0 or not self.task.is_repeated)


def count_all(demo: Demo) -> Iterator[Count]:
    """Each task on a drive of its own, with what somebody knows who has looked around."""
    has_one = importlib.util.find_spec("one") is not None
    with tempfile.TemporaryDirectory() as scratch:
        with mounted(demo.url, Path(scratch, "elsewhere"), *OPTIONS) as drive:
            known = look_up(drive)
        with mounted(demo.url, Path(scratch, "prepared"), *OPTIONS) as drive:
            look_around(drive.path)
        for number, task in enumerate(TASKS):
            home = Path(scratch, str(number))
            if not task.is_first:
                shutil.copytree(Path(scratch, "prepared"), home)
            demo.clear_requests()
            with mounted(demo.url, home, *OPTIONS) as drive:
                counted = count(demo, drive.path, task, known)
            yield dataclasses.replace(counted, one=_with_one(demo, task.one, known) if has_one and task.one else None)


def count(demo: Demo, drive: Path, task: Task, known: Known) -> Count:
    """The requests of a task on this drive, and of the same again."""
    if not task.is_mount:
        demo.clear_requests()
    task.run(drive, known)
    paths = [request["path"] for request in demo.requests()]
    demo.clear_requests()
    if task.is_repeated:
        task.run(drive, known)
    ranges = sum(path.startswith("/data_files/") for path in paths)
    return Count(task, len(paths) - ranges, ranges, len(demo.requests()), None)


def look_around(drive: Path) -> None:
    """What somebody has done who then comes to the tasks."""
    os.listdir(drive / "data")
    for lab in (drive / "data").glob("*/Subjects"):
        os.listdir(lab)


def look_up(drive: Mounted) -> Known:
    """What the tasks are about; reads files, so on a drive that no task runs on."""
    sessions = (path for path in sorted((drive / "data").glob("*/Subjects/*/*/*")) if "aggregates" not in path.parts)
    first = (path for session in sessions for path in sorted(session.rglob("*.npy"))[:1])
    files = list(itertools.islice(filter(_is_there, first), SESSIONS_OPENED))
    large = next((drive / "data").glob("*/Subjects/KS003/2023-03-04/*/raw_ephys_data/signal.mb100.npy"))
    spikes = next((drive / "data").glob("*/Subjects/KS001/2023-01-02/*/alf/probe00/pykilosort/spikes.times.npy"))
    folder = spikes.parents[3]
    inside = [path.relative_to(drive.path) for path in (*files, large, folder)]
    names = sorted(name.removesuffix(".json") for name in os.listdir(drive / "sessions"))
    return Known(
        session=os.getxattr(spikes, "user.alyx.session").decode(),
        folder=str(inside[-1]),
        subject=str(inside[-1].parents[1]),
        lab=inside[-1].parts[1],
        sessions=names,
        files=[str(path) for path in inside[:-2]],
        large=str(inside[-2]),
    )


def _is_there(path: Path) -> bool:
    """Many of the demo's files are only records, as on a real server's oldest sessions."""
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _with_one(demo: Demo, lines: str, known: Known) -> int:
    """What ONE asks for the same, of the API and of the file server, its log-in included."""
    demo.clear_requests()
    script = f"""
set_up()
session, sessions = {known.session!r}, {known.sessions!r}
subject, lab, collection = {Path(known.subject).name!r}, {known.lab!r}, {COLLECTION!r}
{lines}
"""
    with tempfile.TemporaryDirectory() as directory:
        run_one(demo, Path(directory), script)
    return len(demo.requests())
