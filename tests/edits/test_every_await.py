"""Every await of a save, create, rename and delete fails once, in every way: what was written is never lost.

The parts are the real ones, and so is the server; only the fault is made. What a program was told is true, and what was
not saved lies where the message says.
"""

from __future__ import annotations

import itertools
import os
import re
import urllib.error
import urllib.parse
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from alyxfs import errors
from alyxfs.edits.merge_bases import Bases
from alyxfs.tasks import background_tasks
from alyxfs.tree import EditingSession
from alyxfs.tree.writing.target import Target
from asking import Asking
from editing import draft, editing

STRIDE = 1 if os.environ.get("ALYXFS_FULL_TESTS") else 11
"""Of the steps at which a deadline passes, one in so many; what fails by itself fails at each place in any case."""

_numbers = itertools.count(1)


@dataclass
class Room:
    """A session of editing, its server, and the fault that is to come."""

    session: EditingSession
    editing: object
    asking: Asking
    demo: object
    told: list = field(default_factory=list)
    """What stood in errors.log."""

    async def target(self, endpoint, key, name=None):
        described = (await self.editing.metadata.schema()).endpoints[endpoint]
        return Target(described, key, name or f"{key}.json", f"endpoint/{endpoint}", key)

    def get(self, path):
        return self.asking.get(path)

    def journal_says(self):
        return self.editing.journal.entries()


@asynccontextmanager
async def room_of(demo, directory):
    async with editing(demo.url, directory, deletes_per_minute=1_000_000) as parts, background_tasks() as tasks:
        told = []
        session = EditingSession(
            parts.editor, parts.metadata, tasks, lambda _: None, lambda *what: told.append(what[2])
        )
        await parts.metadata.schema()
        yield Room(session, parts, Asking(demo.url), demo, told)


# Faults: each is told how many times to let pass, and says whether it came to it.


class Deadline(trio.abc.Instrument):
    """The operation is cancelled at its n-th step, whichever task makes it."""

    def __init__(self, number):
        self.left = number
        self.scope = trio.CancelScope()
        self.has_struck = False

    def before_task_step(self, task):
        self.left -= 1
        if self.left == 0:
            self.has_struck = True
            self.scope.cancel()

    @asynccontextmanager
    async def coming(self, _room):
        trio.lowlevel.add_instrument(self)
        try:
            with self.scope:
                yield
        finally:
            trio.lowlevel.remove_instrument(self)


class Request:
    """The n-th request fails with this error, before the server sees it or after it has answered."""

    def __init__(self, number, error, *, is_answered=False):
        self.left = number
        self.error = error
        self.is_answered = is_answered
        self.has_struck = False

    @asynccontextmanager
    async def coming(self, room):
        network = room.editing.api._network
        real, real_stream = network.request, network.stream

        def strikes(url):
            if "/auth-token" not in url:
                self.left -= 1
                self.has_struck = self.has_struck or self.left == 0
            return self.left == 0 and "/auth-token" not in url

        async def request(method, url, **options):
            if not strikes(url):
                return await real(method, url, **options)
            if self.is_answered:
                await real(method, url, **options)
            raise self.error(f"{method} {url} fails.")

        @asynccontextmanager
        async def stream(method, url, **options):
            if strikes(url):
                raise self.error(f"{method} {url} fails.")
            async with real_stream(method, url, **options) as answer:
                yield answer

        network.request, network.stream = request, stream
        try:
            yield
        finally:
            del network.request, network.stream


class Disk:
    """The n-th piece of work on the disk fails: of the journal with its own error, of a draft because it is full."""

    def __init__(self, number, monkeypatch):
        self.left = number
        self.monkeypatch = monkeypatch
        self.has_struck = False

    @asynccontextmanager
    async def coming(self, _room):
        real = trio.to_thread.run_sync

        async def run_sync(function, *arguments, **options):
            module = getattr(getattr(function, "func", function), "__module__", "")
            if module in {"alyxfs.edits.journal", "alyxfs.edits.rejected"}:
                self.left -= 1
                if self.left == 0:
                    self.has_struck = True
                    await trio.lowlevel.checkpoint()
                    raise OSError(28, "No space left") if "rejected" in module else errors.ConfigurationError("Full.")
            return await real(function, *arguments, **options)

        with self.monkeypatch.context() as patch:
            patch.setattr(trio.to_thread, "run_sync", run_sync)
            yield


FAULTS = {
    "deadline": lambda number, _patch: Deadline(1 + (number - 1) * STRIDE),
    "no connection": lambda number, _patch: Request(number, errors.NotConnected),
    "refused token": lambda number, _patch: Request(number, errors.AccessDenied),
    "server fails": lambda number, _patch: Request(number, errors.ServerFault),
    "answer too late": lambda number, _patch: Request(number, errors.DeadlineExceeded, is_answered=True),
    "answer lost": lambda number, _patch: Request(number, errors.Unreachable, is_answered=True),
    "defect": lambda number, _patch: Request(number, ZeroDivisionError),
    "full disk": Disk,
}


async def told(room, fault, operation):
    """What the operation was told: None for success."""
    failure = None
    async with fault.coming(room):
        failure = errors.DeadlineExceeded("It did not end in time.")
        try:
            await operation()
            failure = None
        except errors.AlyxfsError as error:
            failure = error
    return failure


def forgotten(room, endpoint, key):
    """As if nobody here had read the record, and the server had never been away."""
    room.editing.metadata._freshness.note_answer()
    room.editing.metadata.outdate(endpoint, key)
    room.editing.editor.bases = Bases()


def is_kept(room, content, failure):
    """The draft is among those that are kept, and a message that names one names it."""
    kept = room.editing.kept()
    for name in re.findall(r"The draft is kept as (\S+)\.(?=\s|$)", str(failure)):
        assert kept[name] == content.decode(), failure
    return content.decode() in kept.values()


async def write(room, fault, target, content):
    """Open, write, sync under the fault, close; returns what sync and close were told."""
    handle = (
        await room.session.open_record(target, 1, truncate=True)
        if target.key is not None
        else room.session.open_new(target, 1, b"", truncate=True)
    )
    await handle.write(0, content)
    at_sync = await told(room, fault, handle.fsync)
    await room.session._writes.finish()
    at_close = await told(room, Deadline(0), handle.flush)
    await handle.close()
    return at_sync, at_close


async def save(room, fault, session, *, is_read):
    """One save with one fault: a program that is told of success is told the truth, and else its draft is kept."""
    value = f"value {next(_numbers)}"
    content = draft({"narrative": value})
    forgotten(room, "sessions", session)
    if is_read:
        await room.editing.read("sessions", session)
    at_sync, at_close = await write(room, fault, await room.target("sessions", session), content)
    is_saved = room.get(f"/sessions/{session}")["narrative"] == value
    assert is_saved or at_sync is not None, "told a lie"
    assert is_saved or at_close is not None, "told a lie at close"
    assert is_saved or is_kept(room, content, at_sync), f"forgotten: {at_sync}"
    states = [entry.state.value for entry in room.journal_says() if entry.key == session][-1:]
    if at_sync is None:
        assert states == ["done"]
    if states == ["done"]:
        assert is_saved
    return at_sync


async def create(room, fault, _session, *, is_read):
    weight = 20 + next(_numbers) / 1000
    content = draft({"subject": "KS001", "weight": weight})
    if not is_read:
        room.editing.metadata.outdate("weighings")
    target = await room.target("weighings", None, f"new-{weight}.json")
    at_sync, at_close = await write(room, fault, target, content)
    made = [row for row in room.asking.rows("/weighings?nickname=KS001") if row["weight"] == weight]
    assert len(made) <= 1, "made twice"
    assert made or (at_sync is not None and at_close is not None), "told a lie"
    assert made or is_kept(room, content, at_sync), f"forgotten: {at_sync}"
    return at_sync


async def rename(room, fault, _session, *, is_read):
    old, new = f"old{next(_numbers)}", f"new{next(_numbers)}"
    room.asking.send("POST", "/subjects", {"nickname": old, "lab": "cortexlab"})
    if is_read:
        await room.editing.read("subjects", old)
    target = await room.target("subjects", old)
    failure = await told(room, fault, lambda: room.session.rename(target, new))
    await room.session._writes.finish()
    names = {name for name in (old, new) if there(room, f"/subjects/{name}")}
    assert len(names) == 1
    assert failure is not None or names == {new}
    room.asking.send("DELETE", f"/subjects/{names.pop()}")
    return failure


async def delete(room, fault, _session, *, is_read):
    key = room.asking.send("POST", "/weighings", {"subject": "KS001", "weight": 20})["url"].rsplit("/", 1)[-1]
    if is_read:
        await room.editing.read("weighings", key)
    remove = lambda: room.session.deletions._delete_at_once("weighings", f"{key}.json", key)  # noqa: E731
    failure = await told(room, fault, lambda: room.session.run("weighings", remove))
    await room.session._writes.finish()
    is_there = there(room, f"/weighings/{key}")
    assert failure is not None or not is_there, "told a lie"
    if is_there:
        assert "done" not in [entry.state.value for entry in room.journal_says() if entry.key == key]
        room.asking.send("DELETE", f"/weighings/{key}")
    return failure


async def replace(room, fault, session, *, is_read):
    """A scratch file that is renamed over the record."""
    content = draft({"narrative": (value := f"value {next(_numbers)}")})
    forgotten(room, "sessions", session)
    if is_read:
        await room.editing.read("sessions", session)
    target = await room.target("sessions", session)
    failure = await told(room, fault, lambda: room.session.save_whole(target, content, 1))
    await room.session._writes.finish()
    is_saved = room.get(f"/sessions/{session}")["narrative"] == value
    assert is_saved or failure is not None, "told a lie"
    assert is_saved or is_kept(room, content, failure), f"forgotten: {failure}"
    return failure


async def unlink(room, fault, _session, *, is_read):
    """Of a program that may make the file anew: it is answered before anything is sent."""
    key = room.asking.send("POST", "/weighings", {"subject": "KS001", "weight": 20})["url"].rsplit("/", 1)[-1]
    if is_read:
        await room.editing.read("weighings", key)
    deletions, room.told[:] = room.session.deletions, []

    async def remove():
        await deletions.delete("endpoint/weighings", f"{key}.json", "weighings", key, os.getpid())
        await deletions.finish()

    failure = await told(room, fault, lambda: room.session.run("weighings", remove))
    await room.session._writes.finish()
    await deletions.finish()
    if there(room, f"/weighings/{key}"):
        assert failure is not None or room.told, "told a lie"
        assert "done" not in [entry.state.value for entry in room.journal_says() if entry.key == key]
        room.asking.send("DELETE", f"/weighings/{key}")
    return failure or next(iter(room.told), None)


def there(room, path):
    try:
        room.get(urllib.parse.quote(path))
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


OPERATIONS = [
    *itertools.product([save, create, rename, delete], [True, False]),
    *itertools.product([replace, unlink], [True, False] if STRIDE == 1 else [False]),
]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("operation", "is_read"),
    OPERATIONS,
    ids=[f"{each.__name__}-{'read before' if is_read else 'not read'}" for each, is_read in OPERATIONS],
)
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost(demo, tmp_path, monkeypatch, operation, fault, is_read):
    demo.control(reset=True)
    async with room_of(demo, tmp_path) as room:
        session = room.asking.send("POST", "/sessions", {"subject": "KS001", "lab": "cortexlab"})["id"]
        ends = []
        for number in itertools.count(1):
            coming = FAULTS[fault](number, monkeypatch)
            ends.append(await operation(room, coming, session, is_read=is_read))
            if not coming.has_struck:
                break
        print(f"{operation.__name__}, {fault}: {len(ends) - 1} places; {sum(map(bool, ends))} were told of it")
        assert ends[-1] is None, "without the fault it is done"
        assert any(ends) or "answer" in fault, "a lost answer is found out; else the fault is felt somewhere"
