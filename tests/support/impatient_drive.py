"""``alyxfs`` whose drives give all memory back at once after a SIGUSR1: ``python impatient_drive.py mount …``.

With ``OLD_KERNEL`` in the environment the kernel refuses to be told to forget, as those before Linux 6.18 do; with
``FEW_INODES=N`` the drive finds so many of them too many.
"""

from __future__ import annotations

import os
import signal

from alyxfs.alyx.datasets import catalogue
from alyxfs.alyx.metadata import listings, records
from alyxfs.cli import main
from alyxfs.kernel import idle

idle.ROUND = 0.5
if "OLD_KERNEL" in os.environ:
    idle._PRUNE = 99  # nothing that Linux knows
if "FEW_INODES" in os.environ:
    idle.MANY, idle.A_MOMENT = int(os.environ["FEW_INODES"]), 0.1
catalogue.REMEMBERED_SECONDS = 1.0


def lose_patience(*_):
    idle.IDLE = idle.IDLE_WITH_PAGES = 0.0
    listings.REMEMBERED_SECONDS = records.REMEMBERED_SECONDS = 0.0


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lose_patience)
    main()
