"""``alyxfs explain``: why a path of a drive is what it is, or is not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from alyxfs.cli.drives import ask_drive, drive_root, path_inside
from alyxfs.cli.printing import say


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def explain(path: Path) -> None:
    """Tell what each name on the way to PATH is, and of one that is not there, why.

    PATH need not be there.
    """
    root = drive_root(path)
    for sentence in ask_drive(root, "explain", path=path_inside(path, root)):
        say(sentence)
    with contextlib.suppress(OSError):
        say(f"The last error: {os.getxattr(path, 'user.alyx.error').decode()}")
