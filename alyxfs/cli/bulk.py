"""``alyxfs edit``: the changes of a table, a row a record."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alyxfs.cli.batches import in_batches
from alyxfs.cli.change_table import read_table
from alyxfs.cli.drives import drive_root, state_of, the_drive
from alyxfs.cli.printing import say, show_lines
from alyxfs.cli.status import counted
from alyxfs.control.client import send_command
from alyxfs.errors import AlyxfsError
from alyxfs.visible_text import one_line

if TYPE_CHECKING:
    from alyxfs.cli.change_table import ChangeTable

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@click.option(
    "--from",
    "table",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV: a column with the endpoint's look-up (id, nickname or name), and one for each field to be changed.",
)
@click.option("--dry-run", is_flag=True, help="Show a diff of each record, and send nothing.")
@click.argument("endpoint")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
def edit(table: Path, dry_run: bool, endpoint: str, directory: Path | None) -> None:
    """Change the records of ENDPOINT as a table says, on the drive at DIRECTORY.

    Each row is saved as the record's file would be: checked, merged and entered in the journal. Lists and objects are
    written as JSON; an empty cell changes nothing, `null` empties a field. Rows that fail are told, and the others go
    on; all changes of one run are a set, which `alyxfs undo --set` takes back.
    """
    root = drive_root(directory) if directory else the_drive()
    state = state_of(root)
    socket = Path(state["control_socket"])
    endpoint = endpoint.strip("/")
    changes = read_table(table)
    key = send_command(socket, "edited-columns", endpoint=endpoint, columns=changes.columns)
    changes.refuse_bad_keys(key)
    command = f"alyxfs edit --from {shlex.quote(table.name)} {shlex.quote(endpoint)}"
    in_set = None if dry_run else send_command(socket, "begin-set", made_by=command)
    outcomes: list[dict[str, Any]] = []
    records = {number: f"{endpoint}/{changes.cells(number)[key]}" for number in changes.rows}

    def some(numbers: list[int]) -> None:
        rows = [_row(changes, number, key) for number in numbers]
        told = send_command(socket, "edit", endpoint=endpoint, rows=rows, set=in_set)
        for outcome in sorted(told, key=lambda each: int(each["row"])):
            outcomes.append(outcome)
            _tell(outcome, records[outcome["row"]])

    in_batches([list(changes.rows)], some, _how_to_take_back(in_set))
    _sum_up(outcomes, in_set, _word(state))


def _row(changes: ChangeTable, number: int, key: str) -> dict[str, Any]:
    cells = changes.cells(number)
    return {"row": number, "key": cells.pop(key), "cells": cells}


def _tell(outcome: dict[str, Any], record: str) -> None:
    if outcome["outcome"] == "failed":
        say(one_line(f"Row {outcome['row']}, {record}: {outcome['sentence']}"), err=True)
    elif outcome.get("diff"):
        show_lines(outcome["diff"].removesuffix("\n").split("\n"), _COLOURS)


def _sum_up(outcomes: list[dict[str, Any]], in_set: int | None, word: str) -> None:
    """Say what came of all; raises AlyxfsError where some failed."""
    numbers = {name: sum(each["outcome"] == name for each in outcomes) for name in ("changed", "would change", "same")}
    failed = len(outcomes) - sum(numbers.values())
    done = f"{counted(numbers['would change'], 'record')} would change" if in_set is None else ""
    done = done or f"{counted(numbers['changed'], 'record')} {word}"
    as_before = f", {numbers['same']:,} had these values already" if numbers["same"] else ""
    how = _how_to_take_back(in_set) if numbers["changed"] else ""
    say(f"{done}{as_before}{f', {failed:,} failed' if failed else ''}. {how}".rstrip())
    if failed:
        raise AlyxfsError(f"{counted(failed, 'row')} of {len(outcomes):,} failed, for the reasons above.")


def _how_to_take_back(in_set: int | None) -> str:
    return "" if in_set is None else f"They are set {in_set}: `alyxfs undo --set {in_set}` takes all of them back."


def _word(state: dict[str, Any]) -> str:
    return "staged" if state.get("staging") else "proposed" if state["dry_run"] else "changed"
