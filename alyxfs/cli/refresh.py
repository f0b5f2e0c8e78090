"""``alyxfs refresh``: what is known is asked for anew, with a word on how far that has come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import click
from rich.console import Console

from alyxfs.cli.drives import ask_drive, drive_root, path_inside, state_of
from alyxfs.cli.printing import say
from alyxfs.cli.status import compared_of

PROGRESS_PAUSE = 0.5
"""Seconds between two looks at how far it has come."""


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def refresh(path: Path) -> None:
    """Ask the server anew for what is below PATH, before its time to live has passed.

    Of data/ as a whole, all that the server has is compared, unless it has made new cache tables: that takes a request
    for each thousand datasets.
    """
    root = drive_root(path)
    with ThreadPoolExecutor(1) as executor, Console(stderr=True).status("asking the server") as shown:
        asked = executor.submit(ask_drive, root, "refresh", path=path_inside(path, root))
        while not asked.done():
            wait([asked], PROGRESS_PAUSE)
            shown.update(" and ".join(progress_of(root)) or "asking the server")
    asked.result()
    for sentence in progress_of(root):
        say(f"It goes on in the background ({sentence}): `alyxfs status` says how far it is.")


def progress_of(root: Path) -> list[str]:
    """How far comparisons of what is in data/ have come, if any are under way."""
    tables = state_of(root)["cache_tables"]
    return [compared_of(compared, tables) for compared in tables.get("compared", [])]
