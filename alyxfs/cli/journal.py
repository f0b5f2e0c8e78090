"""``alyxfs log``, ``diff``, ``undo`` and ``allow-deletes``: what a writable drive changed, and taking it back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alyxfs import file_names
from alyxfs.cli.batches import in_batches
from alyxfs.cli.drives import ask_drive, drive_option, drive_root, path_inside, state_of, the_drive
from alyxfs.cli.printing import folded, say, show_lines
from alyxfs.cli.status import counted
from alyxfs.control.client import send_command
from alyxfs.errors import AlyxfsError, ConfigurationError
from alyxfs.visible_text import escaped, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = 50
"""Entries that ``log`` shows unless it is told otherwise."""
FOLLOWED_EVERY = 0.5
"""Seconds between two looks of ``log --follow``."""
FOLLOWED = 200
"""Entries that may come, or come to their end, between two looks."""

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_STATES = (
    "prepared",
    "sent",
    "done",
    "refused",
    "conflict",
    "unknown",
    "proposed",
    "withdrawn",
    "staged",
    "applied",
    "dry-run",
)
NOT_DONE = ("refused", "conflict", "unknown")
NOT_WHOLE = "Not as before"
"""In the sentence of an undo that does not bring everything back."""
NOTIFIER = "notify-send"
"""Of libnotify."""
LARGEST_NUMBER = 2**63 - 1
"""Of a row of the journal (SQLite's own limit)."""


def _since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Unix seconds of ``2024-05-01``, ``2024-05-01T12:30``, or of ``90m``, ``2h``, ``7d``, ``1w`` ago."""
    if value is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d+)([mhdw])", value):
            return time.time() - int(ago[1]) * _SECONDS[ago[2]]
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is no date, no time, and not like 90m, 2h or 7d.") from error


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--all", "every", is_flag=True, help=f"Not only the last {LAST} of them.")
@click.option("--since", callback=_since, help="A day or time, or how long ago: 2024-05-01, 2024-05-01T12:30, 2h, 7d.")
@click.option("--record", help="Of one record, as subjects/KS022, or of one endpoint, as subjects.")
@click.option("--state", "states", multiple=True, type=click.Choice(_STATES), help="Repeat it for several.")
@click.option(
    "--set", "in_set", type=click.IntRange(1, LARGEST_NUMBER), help="Those of one set: `edit`, `apply`, `undo --set`."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens: writes, refusals, errors. Ctrl-C ends it.")
@click.option("--notify", is_flag=True, help="With --follow: show what was refused on the desktop, too (notify-send).")
def log(
    directory: Path | None,
    every: bool,
    since: float | None,
    record: str | None,
    states: tuple[str, ...],
    in_set: int | None,
    as_json: bool,
    follow: bool,
    notify: bool,
) -> None:
    """List the last writes of the drive at DIRECTORY, oldest first."""
    if follow and as_json:
        raise click.UsageError("--json is one document, which --follow would never end.")
    if notify and not follow:
        raise click.UsageError("--notify says how to follow: it needs --follow.")
    if notify and shutil.which(NOTIFIER) is None:
        raise ConfigurationError(f"{NOTIFIER} was not found: install the package libnotify-bin.")
    if record is not None:
        record = record.strip("/").removesuffix(".json")
    last = None if every or in_set else LAST + 1
    if in_set and not as_json:
        say(_set_words(_ask(directory, "set", number=in_set)))
    entries = _ask(directory, "log", last=last, since=since, record=record, states=states, set=in_set)
    if last is not None and len(entries) == last:
        del entries[0]
        say(f"The last {LAST} are shown; `alyxfs log --all` shows those before them, too.", err=True)
    if as_json:
        say(json.dumps(entries, indent=2))
        return
    show_lines(line for entry in entries for line in _described(entry))
    if follow:
        with suppress(KeyboardInterrupt):
            root = drive_root(directory) if directory else the_drive()
            _follow(root, entries, notify=notify, record=record, states=states, set=in_set)


def _follow(root: Path, shown: list[dict[str, Any]], *, notify: bool, **wanted: Any) -> None:
    """Print what is entered or comes to its end from now on, and what goes wrong besides, until the drive ends."""
    known: dict[int, tuple[str, str]] = {entry["number"]: _outcome(entry) for entry in shown}
    errors = _error_lines(root)
    while True:
        time.sleep(FOLLOWED_EVERY)
        for entry in ask_drive(root, "log", last=FOLLOWED, since=None, **wanted):
            if known.get(entry["number"]) != _outcome(entry):
                known[entry["number"]] = _outcome(entry)
                say("\n".join(_described(entry)))
                if notify and entry["state"] in NOT_DONE:
                    _notify(entry)
        now = _error_lines(root)
        remarks = [remark for _, remark in known.values() if remark]
        for line in now:
            if line not in errors and not any(remark in line for remark in remarks):
                say(line)
        errors = now


def _notify(entry: dict[str, Any]) -> None:
    """Show on the desktop what was refused; where that does not go, it was said on the terminal."""
    title = f"{entry['record']}: {entry['operation']} {entry['state']}"
    subprocess.run(
        [NOTIFIER, "--app-name=alyxfs", "--", escaped(title), escaped(entry["remark"] or "")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _outcome(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["state"], entry["remark"]


def _error_lines(root: Path) -> list[str]:
    return (root / ".alyxfs" / "errors.log").read_text(errors="replace").splitlines()


@click.command()
@click.argument("what", metavar="NUMBER|PATH", required=False)
@click.option(
    "--staged", is_flag=True, help="Of all that is staged, or of it what is of the record or endpoint at PATH."
)
@drive_option
def diff(what: str | None, staged: bool, drive: Path | None) -> None:
    """Show what write NUMBER changed, or would have changed; or with --staged what `alyxfs apply` would send."""
    if staged:
        root = drive_root(Path(what)) if what else drive_root(drive) if drive else the_drive()
        _show_staged(root, path_inside(Path(what), root) if what else ".")
        return
    if what is None:
        raise click.UsageError("This takes the number of a write, or --staged.")
    number = click.IntRange(1, LARGEST_NUMBER)(what)
    show_lines(_ask(drive, "diff", number=number).removesuffix("\n").split("\n"), _COLOURS)


def _show_staged(root: Path, path: str) -> None:
    """The diffs of what is staged below a path of the drive, each below the line of the log that tells of it."""
    endpoint, _, name = path.partition("/")
    key = file_names.decode(name.removesuffix(".json")) if name.endswith(".json") else ""
    entries = ask_drive(root, "staged", record="" if path == "." else f"{endpoint}/{key}")
    if not entries:
        say("Nothing is staged.")
        return
    lines = [
        line for entry in entries for line in (*_described(entry), *entry["diff"].removesuffix("\n").split("\n"), "")
    ]
    show_lines(lines, _COLOURS)


@click.command()
@click.argument("number", type=click.IntRange(1, LARGEST_NUMBER), required=False)
@click.option(
    "--set", "in_set", type=click.IntRange(1, LARGEST_NUMBER), help="All writes of this set, the newest first."
)
@drive_option
def undo(number: int | None, in_set: int | None, drive: Path | None) -> None:
    """Take write NUMBER back, or all of a set, unless somebody changed the same since."""
    if (number is None) == (in_set is None):
        raise click.UsageError("This takes the number of a write, or --set with that of a set.")
    root = drive_root(drive) if drive else the_drive()
    if number is not None:
        say(ask_drive(root, "undo", number=number))
        return
    _undo_set(Path(state_of(root)["control_socket"]), in_set)


def _undo_set(socket: Path, in_set: int | None) -> None:
    """Take back what is left of a set; raises AlyxfsError where some of it stays."""
    found = send_command(socket, "set", number=in_set)
    if not found["to_undo"]:
        say(f"Set {in_set} has nothing that could be taken back.")
        return
    undoing = send_command(socket, "begin-set", made_by=f"alyxfs undo --set {in_set}")
    outcomes: list[dict[str, Any]] = []

    def some(batch: list[int]) -> None:
        told = send_command(socket, "undo-some", numbers=batch, set=undoing)
        outcomes.extend(told)
        for each in told:
            if not each["done"] or NOT_WHOLE in each["sentence"]:
                say(one_line(f"Write {each['number']}: {each['sentence']}"), err=True)

    in_batches(found["to_undo"], some, f"`alyxfs undo --set {in_set}` goes on.")
    done = sum(each["done"] for each in outcomes)
    say(f"{done:,} of {counted(len(outcomes), 'write')} of set {in_set} are taken back (as set {undoing}).")
    if done < len(outcomes):
        raise AlyxfsError(f"{counted(len(outcomes) - done, 'write')} of set {in_set} stay, for the reasons above.")


def _set_words(found: dict[str, Any]) -> str:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["time"]))
    return f"Set {found['number']}, {stamp}: {found['made_by']}"


@click.command("allow-deletes")
@click.argument("path", type=click.Path(path_type=Path), required=False)
def allow_deletes(path: Path | None) -> None:
    """Let a drive delete again after too many deletes stopped it, or one record be deleted.

    PATH is the drive's directory, or the file of a record that was not deleted because of what would be lost with it:
    what that is, is printed, and within ten minutes it may be deleted with all of that.
    """
    root = drive_root(path) if path else the_drive()
    say(ask_drive(root, "allow-deletes", path=path_inside(path, root) if path else "."))


def _described(entry: dict[str, Any]) -> Iterator[str]:
    """What it was, and the remark below it, in lines that fit on the terminal."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["time"]))
    fields = f"  ({', '.join(entry['fields'])})" if entry["fields"] else ""
    undone = f" of {entry['undo_of']}" if entry["undo_of"] else ""
    in_set = f"  [set {entry['set']}]" if entry["set"] else ""
    record = one_line(f"{entry['record']}{fields}")
    line = f"{entry['number']:>6}  {stamp}  {entry['state']:<9}  {entry['operation']}{undone} {record}{in_set}"
    yield from folded(line, indent=8)
    if entry["remark"]:
        yield from folded(f"{' ' * 8}{one_line(entry['remark'])}", indent=8)


def _ask(place: Path | None, command: str, **arguments: Any) -> Any:
    return ask_drive(drive_root(place) if place else the_drive(), command, **arguments)
