"""Mounting, serving until the drive is unmounted, and unmounting."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import pathlib
from typing import TYPE_CHECKING

import pyfuse3
import trio

from alyxfs import errors
from alyxfs.kernel.busy_poll import look_before_sleeping
from alyxfs.kernel.guardian import CONNECTIONS, Guardian
from alyxfs.kernel.idle import Pruner, give_back_for_ever, keep_few_for_ever
from alyxfs.tasks import background_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from alyxfs.kernel.operations import Kernel

log = logging.getLogger(__name__)

REQUESTS = 128
"""Reads ahead of programs that the kernel may have under way on this mount: by itself it sends twelve at a time, for
all readers together, and those that wait for the network hold up the others."""


MOST_WORDS = 4096
"""Bytes of what libfuse says that are listened to."""
_ADVICE = {
    "user_allow_other": "Leave --allow-other out, or have root write the line `user_allow_other` into /etc/fuse.conf.",
    "/dev/fuse: Permission denied": "Root opens /dev/fuse to all with `chmod 666 /dev/fuse`, as most systems have it.",
    "/dev/fuse": "Root loads it with `modprobe fuse`; a container has to be started with --device /dev/fuse.",
    "too many FUSE filesystems": "Unmount some, or have root raise `mount_max` in /etc/fuse.conf.",
    "failed to exec fusermount": "Install the package fuse3.",
    "no write access to mountpoint": "Mount at a directory that is yours.",
}
"""By words of libfuse 3 and fusermount3 (lib/mount.c and util/fusermount.c)."""


async def serve(
    kernel: Kernel,
    mount_point: pathlib.Path,
    source: str,
    ready: Callable[[], object],
    *,
    writable: bool,
    allow_other: bool,
    read_ahead: int,
) -> None:
    """Mount, call ``ready`` once the kernel's requests are answered, and serve until the drive is unmounted.

    Cancelling unmounts. Raises ConfigurationError where the mount is refused.
    """
    options = set(pyfuse3.default_options)
    options |= {f"fsname={source.replace(',', '%2C')}", "subtype=alyxfs"}
    if not writable:
        options.add("ro")
    if allow_other:
        options.add("allow_other")
    look_before_sleeping()
    place = pathlib.Path(os.path.realpath(mount_point))
    guardian = Guardian(place)
    words: list[str] = []
    try:
        with heard_from_libfuse(words):
            pyfuse3.init(kernel, str(place), options)
        guardian.mounted()
    except RuntimeError as error:
        guardian.dismiss()
        raise errors.ConfigurationError(
            f"{mount_point} cannot be mounted: {'; '.join(words) or error}. {advice(words)}"
        ) from error
    failure: errors.AlyxfsError | None = None
    try:
        with kernel.invalidation.notifying():
            async with background_tasks() as tasks:

                async def announce() -> None:
                    state = await trio.to_thread.run_sync(os.stat, mount_point, abandon_on_cancel=True)
                    allow_requests(CONNECTIONS, state.st_dev)
                    if read_ahead:
                        set_read_ahead(state.st_dev, read_ahead)
                    gc.freeze()  # what was made so far stays, so that no collection need go through it again
                    log.info("mounted at %s", mount_point)
                    ready()

                def could_not_announce(error: errors.AlyxfsError) -> None:
                    nonlocal failure
                    failure = error
                    tasks.cancel()

                tasks.start(announce, failed=could_not_announce)
                pruner = Pruner(kernel.inodes, kernel.is_open)
                tasks.keep(give_back_for_ever, pruner, kernel.drive)
                tasks.keep(keep_few_for_ever, pruner)
                await pyfuse3.main(max_tasks=2 * REQUESTS)
    finally:
        pyfuse3.close(unmount=True)
        guardian.dismiss()
    if failure is not None:
        raise failure


@contextlib.contextmanager
def heard_from_libfuse(words: list[str]) -> Iterator[None]:
    """Collect what libfuse and fusermount3 say, which they do on standard error alone; it is said there, too."""
    with contextlib.ExitStack() as stack:
        heard = os.memfd_create("libfuse")
        stack.callback(os.close, heard)
        real = os.dup(2)
        stack.callback(os.close, real)
        os.dup2(heard, 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            text = os.pread(heard, MOST_WORDS, 0)
            os.write(2, text)
            words += [
                line.removeprefix("fuse: ") for line in text.decode(errors="replace").splitlines() if line.strip()
            ]


def advice(words: Collection[str]) -> str:
    """What to do about what libfuse says."""
    said = " ".join(words)
    for part, sentence in _ADVICE.items():
        if part in said:
            return sentence
    return "Is fuse3 installed, /dev/fuse there and the directory yours?"


def allow_requests(connections: pathlib.Path, device: int) -> None:
    """Let the kernel send REQUESTS at a time, by its directory of connections (fuse.rst, "Control filesystem").

    Whoever has mounted may do so, where that directory is mounted, as systemd does; else it stays with the twelve.
    """
    connection = connections / str(os.minor(device))
    try:
        (connection / "max_background").write_text(str(REQUESTS))
        (connection / "congestion_threshold").write_text(str(REQUESTS * 3 // 4))
    except OSError as error:
        log.info("the kernel sends only a few reads at a time: %s", error.strerror)


def set_read_ahead(device: int, kibibytes: int) -> None:
    """Tell the kernel how far to read ahead on this mount; raises ConfigurationError where it does not let us."""
    setting = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        setting.write_text(str(kibibytes))
    except OSError as error:
        raise errors.ConfigurationError(
            f"The kernel's read-ahead cannot be set ({error.strerror}): it takes root."
        ) from error
