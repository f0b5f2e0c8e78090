"""Reading data files: the drive beside its peers, from a file server that counts what it is asked.

datafiles   the files that are read, made once
server      nginx, its log, and a round trip as it is measured
relay       distance: a TCP relay that delays, and may be as narrow as a link
library     a small Alyx whose sessions list the files, so that the drive finds them as it finds any others
peers       the drive and its peers, mounted afresh for each sample
machine     page cache, kernel read-ahead, CPU and memory of processes
workloads   what programs do with data files; each gives samples
medium      files of 1 to 64 MiB, read whole
bars        what the drive is held to
report      table, JSON and plot
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / "tests" / "support")
)  # mounts and the small Alyx of the tests
