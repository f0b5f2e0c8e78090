"""A link of some width to processes of this machine: the kernel's own shaping where root may, else the relay."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.relay import running_relay

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE, THERE = "10.213.77.1", "10.213.77.2"
"""The two ends of the link."""
NETWORK = 0x40000000
"""CLONE_NEWNET, setns(2)."""
BURST, QUEUE = "512kb", "20ms"
"""What the shaper lets through at once, and keeps for so long, as a switch does."""


class LinkError(Exception):
    """The namespace could not be entered."""


def can_shape() -> bool:
    """Whether the kernel can be told to have a link: needs root, iproute2, and the modules."""
    return os.geteuid() == 0 and bool(shutil.which("ip") and shutil.which("tc"))


@contextlib.contextmanager
def running_link(gbit: float) -> Iterator[str | None]:
    """A link of so many Gbit/s from this machine to a network namespace; gives this end's address, None without it.

    See :func:`on_the_other_side`.
    """
    if not can_shape():
        yield None
        return
    name = _name()
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", _device(), "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "addr", "add", f"{HERE}/30", "dev", _device())
        _run("ip", "link", "set", _device(), "up")
        for device, address in (("lo", "127.0.0.1/8"), ("eth0", f"{THERE}/30")):
            _run("ip", "-n", name, "addr", "replace", address, "dev", device)
            _run("ip", "-n", name, "link", "set", device, "up")
        shaper = ("rate", f"{gbit:g}gbit", "burst", BURST, "latency", QUEUE)
        _run("tc", "qdisc", "add", "dev", _device(), "root", "tbf", *shaper)
        yield HERE
    finally:
        subprocess.run(["ip", "link", "del", _device()], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@contextlib.contextmanager
def on_the_other_side(here: str | None, port: int, gbit: float) -> Iterator[str]:
    """What this thread starts in the block is behind the link; gives the address of a port of this side, seen there."""
    if here is None:
        with running_relay(port, delay=0.0, gbit=gbit) as relayed:
            yield f"http://127.0.0.1:{relayed}"
        return
    with Path("/proc/self/ns/net").open("rb") as back, Path("/run/netns", _name()).open("rb") as there:
        _enter(there.fileno())
        try:
            yield f"http://{here}:{port}"
        finally:
            _enter(back.fileno())


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, NETWORK):
        raise LinkError(os.strerror(ctypes.get_errno()))


def _name() -> str:
    return f"alyxfs-bench-{os.getpid()}"


def _device() -> str:
    return f"bench{os.getpid()}"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)
