"""Where data files stand in the drive: ``data/``, and directories elsewhere that are laid out as it."""

from __future__ import annotations

DATA = "data"
SUBJECTS = "Subjects"
"""Between the names of a lab and of a subject."""
RELEASES = "releases"
"""A directory for each dataset tag, with ``data`` in it."""
AS_OF = "as-of"
"""A directory for each date, with ``data`` in it."""


def below_data(path: str) -> str | None:
    """The path of a data file below its ``data``, by that in the drive; None for a path that leads elsewhere."""
    parts = path.split("/")
    depth = 3 if parts[0] in {RELEASES, AS_OF} else 1
    return "/".join(parts[depth:]) if parts[depth - 1 : depth] == [DATA] else None
