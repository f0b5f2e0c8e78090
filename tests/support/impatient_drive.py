"""``alyxfs`` whose drives give all memory back at once after a SIGUSR1: ``python impatient_drive.py mount …``."""

from __future__ import annotations

import signal

from alyxfs.alyx.datasets import catalogue
from alyxfs.alyx.metadata import listings, records
from alyxfs.cli import main
from alyxfs.kernel import idle

idle.ROUND = 0.5
catalogue.REMEMBERED_SECONDS = 1.0


def lose_patience(*_):
    idle.IDLE = idle.IDLE_WITH_PAGES = 0.0
    listings.REMEMBERED_SECONDS = records.REMEMBERED_SECONDS = 0.0


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lose_patience)
    main()
