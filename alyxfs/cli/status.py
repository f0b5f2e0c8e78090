"""``alyxfs status``: what a drive says of itself and of its server, for people or for programs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from humanize import naturaldelta, naturalsize

from alyxfs.cli.drive import drive_root, orders_of
from alyxfs.errors import AlyxfsError
from alyxfs.orders import give_order

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The drive's .alyxfs/status.json as it is, for programs.")
def status(directory: Path, as_json: bool) -> None:
    """Show what the drive at DIRECTORY says of itself and of its server."""
    root = drive_root(directory)
    text = (root / ".alyxfs" / "status.json").read_text(encoding="utf-8")
    if as_json:
        click.echo(text, nl=False)
        return
    lines = described(json.loads(text), root, time.time())
    lines.insert(-1, ("pinned", _of_drive(root)))  # the errors last
    for name, sentence in lines:
        click.echo(f"{click.style(name.ljust(12), bold=True)}  {sentence}")


def described(state: dict[str, Any], root: Path, now: float) -> list[tuple[str, str]]:
    """The state of a drive in sentences, each with the word that it is about; ``now`` in Unix seconds."""
    kind = "writable" if state["writable"] else "read-only"
    lines = [
        ("drive", f"{root}, {kind}, mounted {naturaldelta(now - state['mounted_at'])} ago (alyxfs {state['alyxfs']})"),
        ("server", f"{state['server']}, asked {counted(state['requests'], 'time')}"),
    ]
    if state["stale_since"] is not None:
        lines.append(
            ("", f"away for {naturaldelta(now - state['stale_since'])}; shown is what was known: {state['last_error']}")
        )
    known = f"{counted(state['listings'], 'listing')} with {counted(state['rows'], 'row')}"
    if state["oldest_listing"] is not None:
        known += f", the oldest from {naturaldelta(now - state['oldest_listing'])} ago"
    lines.append(("known", f"{known}; {counted(state['records_in_memory'], 'record')} in memory"))
    lines += [("", remark) for remark in state["remarks"]]
    lines.append(("cache tables", _of_tables(state["cache_tables"], now)))
    lines.append(
        ("errors", f"{counted(state['errors'], 'error')}, see {root}/.alyxfs/errors.log" if state["errors"] else "none")
    )
    return lines


def _of_tables(tables: dict[str, Any], now: float) -> str:
    if "made" not in tables:
        return f"not used. {tables['note']}" if tables["note"] else "not needed yet: nothing in data/ was looked at"
    text = f"{counted(tables['sessions'], 'session')} and {counted(tables['datasets'], 'dataset')}"
    text += f", made {tables['made']}; {counted(tables['changed_since'], 'change')} since"
    if tables["asked_at"]:
        text += f", asked {naturaldelta(now - tables['asked_at'])} ago"
    return f"{text}. {tables['note']}".strip()


def _of_drive(root: Path) -> str:
    try:
        return of_pins(give_order(orders_of(root), "pins"))
    except AlyxfsError as error:
        return f"not known. {error}"


def of_pins(files: Sequence[dict[str, Any]]) -> str:
    """Pinned files in words: how many, how large, and how much of them is on this machine."""
    if not files:
        return "nothing"
    total = sum(file["size"] for file in files)
    here = sum(int(file["size"] * file["share"]) for file in files)
    share = "all on this machine" if here == total else f"of which {size_of(here)} are on this machine"
    return f"{counted(len(files), 'file')}, {size_of(total)}, {share}"


def size_of(count: int) -> str:
    """Bytes as people read them: ``3.4 GiB``."""
    return naturalsize(count, binary=True)


def counted(number: int, thing: str) -> str:
    """A number of things: ``1 row``, ``1,200 rows``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
