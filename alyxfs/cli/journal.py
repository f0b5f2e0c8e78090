"""``alyxfs log``, ``diff``, ``undo`` and ``allow-deletes``: what a writable drive changed, and taking it back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from alyxfs.cli.drive import drive_root, orders_of, the_drive
from alyxfs.orders import give_order

WIDTH = 160
"""Columns of the table where there is no terminal that says how many it has."""

_drive = click.option(
    "--drive",
    type=click.Path(path_type=Path),
    help="A place in the drive. Default: the directory you are in, else the only drive that is mounted.",
)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def log(directory: Path | None, as_json: bool) -> None:
    """List the writes of the drive at DIRECTORY, oldest first."""
    entries = _order(directory, "log")
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    table = Table(box=None)
    for name in ("number", "time", "operation"):
        table.add_column(name, no_wrap=True)
    for name in ("record", "state", "remark"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["time"]))
        table.add_row(
            str(entry["number"]), stamp, entry["operation"], entry["record"], entry["state"], entry["remark"] or ""
        )
    Console(width=None if Console().is_terminal else WIDTH).print(table)


@click.command()
@click.argument("number", type=int)
@_drive
def diff(number: int, drive: Path | None) -> None:
    """Show what write NUMBER changed, or would have changed."""
    text = _order(drive, "diff", number=number)
    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, "diff", background_color="default"))
    else:
        click.echo(text, nl=False)


@click.command()
@click.argument("number", type=int)
@_drive
def undo(number: int, drive: Path | None) -> None:
    """Take write NUMBER back, unless somebody changed the same since."""
    click.echo(_order(drive, "undo", number=number))


@click.command("allow-deletes")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
def allow_deletes(directory: Path | None) -> None:
    """Let the drive at DIRECTORY delete again after too many deletes stopped it."""
    _order(directory, "allow-deletes")


def _order(place: Path | None, order: str, **arguments: Any) -> Any:
    return give_order(orders_of(drive_root(place) if place else the_drive()), order, **arguments)
