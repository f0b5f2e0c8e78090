"""What the kernel is answered when something is odd, or alyxfs itself fails: an errno, or one entry less."""

from __future__ import annotations

import errno
import inspect
import math
from types import SimpleNamespace

import pyfuse3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alyxfs import defects, errors
from alyxfs.kernel import Invalidation, Kernel
from alyxfs.kernel.attributes import EARLIEST, LARGEST_SIZE, LATEST, entry_of
from alyxfs.kernel.open_directory import OpenDirectory
from alyxfs.tree import Attributes, Kind
from alyxfs.tree.error_log import ErrorLog


class BrokenDrive:
    """Whatever is asked of its nodes is a defect."""

    def __init__(self):
        self.root = SimpleNamespace(
            identity="",
            content="",
            number=0,
            attributes=self._fail,
            lookup=self._fail,
            entries_at_hand=self._fail,
            entries=self._fail,
        )
        self.is_writable = True
        self.errors = ErrorLog()

    def _fail(self, *_):
        raise RuntimeError("a defect")


@pytest.fixture
def kernel(tmp_path):
    return Kernel(BrokenDrive(), Invalidation(), deadline=5.0, cache_directory=tmp_path)


HANDLERS = {
    name
    for name, method in vars(Kernel).items()
    if inspect.iscoroutinefunction(method) and hasattr(pyfuse3.Operations, name)
}


@pytest.mark.trio
@pytest.mark.parametrize("name", sorted(HANDLERS - {"forget", "statfs", "fsyncdir"}))
async def test_a_defect_in_a_handler_is_an_errno_and_counted(kernel, name):
    before = defects.noted.count
    handler = getattr(kernel, name)
    arguments = [pyfuse3.ROOT_INODE if each == "inode" else None for each in inspect.signature(handler).parameters]
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await handler(*arguments)
    if raised.value.errno == errno.EIO:
        assert defects.noted.count == before + 1


@pytest.mark.trio
async def test_a_defect_in_forget_has_nobody_to_be_told_to(kernel):
    before = defects.noted.count
    await kernel.forget([(123456, 1)])
    assert defects.noted.count == before + 1


@given(modified=st.floats(), size=st.integers(0, LARGEST_SIZE))
def test_any_time_can_be_shown(modified, size):
    entry = entry_of(5, Attributes(Kind.FILE, size, modified, 1.0), size, writable_drive=False)
    seconds = modified if math.isfinite(modified) else 0.0
    assert entry.st_mtime_ns == int(min(max(seconds, EARLIEST), LATEST) * 1e9)
    assert entry.st_size == size


@pytest.mark.parametrize("size", [-1, LARGEST_SIZE + 1, 1 << 80])
def test_a_size_that_no_file_can_have_is_a_domain_error(size):
    with pytest.raises(errors.ServerFault, match="no file can have"):
        entry_of(5, Attributes(Kind.FILE, size, 0.0, 1.0), size, writable_drive=False)


@pytest.mark.trio
async def test_an_entry_that_cannot_be_shown_costs_no_other_one(kernel, monkeypatch):
    def node(name, size):
        attributes = Attributes(Kind.FILE, size, 0.0, 1.0)
        return SimpleNamespace(
            identity=name, content="", number=0, keep_number=lambda _: None, attributes=lambda: attributes
        )

    nodes = [
        ("odd", node("odd", 1 << 70)),
        ("away", None),
        ("broken", node("broken", None)),
        ("right", node("right", 7)),
    ]

    class Entries:
        def ready(self, position):
            return position > 2

        async def at(self, position):
            return (*nodes[position], position + 1) if position < len(nodes) else None

    shown = []
    # It writes into the kernel's own buffer, which there is in a mount alone, and no drive has such entries.
    monkeypatch.setattr(
        pyfuse3, "readdir_reply", lambda token, name, entry, following: shown.append((name, following)) or True
    )
    folder = SimpleNamespace(attributes=lambda: Attributes(Kind.DIRECTORY, 0, 0.0, 1.0))
    handle = kernel._open.open_directory(OpenDirectory(folder, (7, 1), Entries()))
    await kernel.readdir(handle, 0, None)
    assert shown == [(b".", 1), (b"..", 2)], "these wait for nothing"
    await kernel.readdir(handle, 2, None)
    assert shown[2:] == [(b"right", 6)]
    assert [line.split()[2] for line in kernel.drive.errors.lines()] == ["odd:", "broken:"]
