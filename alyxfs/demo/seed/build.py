"""Builds the demo's data once; later runs find them."""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alyxfs.private_files import make_folder

# Part of the directory's name: raise it whenever the data would come out differently.
VERSION = 6
MB = 2**20


def built(directory: Path, scale: int, largest_file_mb: float) -> Path:
    """Return the directory of this scale, after building it where it is not there yet.

    Whoever comes while another one builds waits. What is built appears under its name all at once, so that a
    builder that was killed leaves nothing half done.
    """
    make_folder(directory)
    home = directory / f"v{VERSION}-scale{scale}-{largest_file_mb:g}mb"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            for left_over in directory.glob(".building-*"):
                shutil.rmtree(left_over)
            unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=directory))
            # In a process of its own, for Django can be set up for one database only.
            command = [sys.executable, "-m", __name__, str(unfinished), str(scale), str(largest_file_mb)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own module
            unfinished.rename(home)
    return home


def build(home: Path, scale: int, largest_file_mb: float) -> None:
    """Fill an empty directory: database, data files, pictures and cache tables."""
    from alyxfs.demo.settings import configure  # noqa: PLC0415 - Django comes first

    configure(home)
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    call_command("migrate", run_syncdb=True, verbosity=0)
    from .everything import add_everything  # noqa: PLC0415

    add_everything(home, scale, int(largest_file_mb * MB))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
