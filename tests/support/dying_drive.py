"""A drive that kills itself at a step of its first write: ``python dying_drive.py STEP mount …``."""

from __future__ import annotations

import functools
import os
import signal
import sys

import alyxfs.mount
from alyxfs.cli import main
from alyxfs.edits import Editor


def die(step: str, reached: str) -> None:
    if reached == step:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    alyxfs.mount.Editor = functools.partial(Editor, checkpoint=functools.partial(die, sys.argv.pop(1)))
    main()
