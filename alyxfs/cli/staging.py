"""``alyxfs apply`` and ``discard``: what becomes of what is staged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from alyxfs.cli.batches import in_batches
from alyxfs.cli.drives import ask_drive, drive_option, drive_root, state_of, the_drive
from alyxfs.cli.printing import say
from alyxfs.cli.status import counted
from alyxfs.control.client import send_command
from alyxfs.errors import AlyxfsError
from alyxfs.visible_text import one_line

LARGEST_NUMBER = 2**63 - 1
"""Of a row of the journal (SQLite's own limit)."""

_numbers = click.argument("numbers", type=click.IntRange(1, LARGEST_NUMBER), nargs=-1)


@click.command()
@_numbers
@drive_option
def apply(numbers: tuple[int, ...], drive: Path | None) -> None:
    """Send what is staged, or of it the writes with these NUMBERS.

    Each is checked, merged and entered in the journal as any save; what somebody changed meanwhile is refused and stays
    staged. All of one run are a set, which `alyxfs undo --set` takes back.
    """
    root = drive_root(drive) if drive else the_drive()
    socket = Path(state_of(root)["control_socket"])
    groups = send_command(socket, "staged-order", numbers=list(numbers))
    if not groups:
        say("Nothing is staged.")
        return
    in_set = send_command(socket, "begin-set", made_by=" ".join(["alyxfs apply", *map(str, numbers)]))
    done, refused = 0, list[dict[str, Any]]()

    def some(batch: list[int]) -> None:
        nonlocal done
        told = send_command(socket, "apply", numbers=batch, set=in_set)
        done += told["done"]
        refused.extend(told["refused"])
        _tell(told["refused"])

    how = f"They are set {in_set}: `alyxfs undo --set {in_set}` takes all of them back."
    in_batches(groups, some, f"{how} The others are staged still.")
    left = f", {len(refused):,} not" if refused else ""
    say(f"{counted(done, 'staged write')} applied{left}. {how if done else ''}".rstrip())
    if refused:
        raise AlyxfsError(f"Still staged, for the reasons above: {counted(len(refused), 'write')}.")


@click.command()
@_numbers
@drive_option
def discard(numbers: tuple[int, ...], drive: Path | None) -> None:
    """Forget what is staged, or of it the writes with these NUMBERS; `alyxfs log` still tells of them."""
    root = drive_root(drive) if drive else the_drive()
    if not numbers and sys.stdin.isatty():
        waiting = counted(state_of(root).get("staged", 0), "staged write")
        click.confirm(f"Discard all of them ({waiting})?", abort=True)
    told = ask_drive(root, "discard", numbers=list(numbers))
    _tell(told["refused"])
    say(f"{counted(told['done'], 'staged write')} discarded.")
    if told["refused"]:
        raise AlyxfsError(f"Still staged, for the reasons above: {counted(len(told['refused']), 'write')}.")


def _tell(refused: list[dict[str, Any]]) -> None:
    for each in refused:
        say(one_line(f"Write {each['number']}, {each['record']}: {each['sentence']}"), err=True)
