"""Mounting, serving until the drive is unmounted, and unmounting."""

from __future__ import annotations

import gc
import logging
import os
import pathlib
from typing import TYPE_CHECKING

import pyfuse3
import trio

from alyxfs import errors
from alyxfs.kernel.waiting import look_before_sleeping
from alyxfs.nursery import background_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from alyxfs.kernel.operations import Kernel

log = logging.getLogger(__name__)

REQUESTS = 128
"""Reads ahead of programs that the kernel may have under way on this mount: by itself it sends twelve at a time, for
all readers together, and those that wait for the network hold up the others."""


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
    try:
        pyfuse3.init(kernel, str(mount_point), options)
    except RuntimeError as error:
        raise errors.ConfigurationError(
            f"{mount_point} cannot be mounted: {error}. Is fuse3 installed, /dev/fuse there and the directory yours?"
        ) from error
    try:
        async with background_tasks() as nursery:

            async def announce() -> None:
                state = await trio.to_thread.run_sync(os.stat, mount_point, abandon_on_cancel=True)
                allow_requests(pathlib.Path("/sys/fs/fuse/connections"), state.st_dev)
                if read_ahead:
                    set_read_ahead(state.st_dev, read_ahead)
                gc.freeze()  # what was made so far stays, so that no collection need go through it again
                log.info("mounted at %s", mount_point)
                ready()

            nursery.start_soon(announce)
            await pyfuse3.main(max_tasks=2 * REQUESTS)
    finally:
        kernel.has_ended = True
        pyfuse3.close(unmount=True)


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
