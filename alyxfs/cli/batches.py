"""Many writes that a drive is told to make: some at a time, with a bar that shows how far that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from alyxfs.cli.printing import say
from alyxfs.errors import AlyxfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Item = TypeVar("Item")

OF_ONE_COMMAND = 8
"""Writes that a drive is told of at a time: it answers within the time that a command may take, however slow the
server is."""


def in_batches(groups: Sequence[Sequence[Item]], work: Callable[[list[Item]], None], on_end: str) -> None:
    """Do ``work`` for all items, those of one group before those of the next.

    ``on_end`` is said, behind how many are done, where Ctrl-C or an error ends it before its time.
    """
    console = Console(stderr=True)
    total, done = sum(map(len, groups)), 0
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=total)
            for batch in _batches(groups):
                work(batch)
                done += len(batch)
                progress.advance(task, len(batch))
    except (KeyboardInterrupt, AlyxfsError):
        under_way = " It is not known here what became of the next few." if done < total else ""
        say(f"It ended after {done:,} of {total:,}.{under_way} {on_end}", err=True)
        raise


def _batches(groups: Sequence[Sequence[Item]]) -> Iterator[list[Item]]:
    for group in groups:
        for start in range(0, len(group), OF_ONE_COMMAND):
            yield list(group[start : start + OF_ONE_COMMAND])
