"""A drive whose Python is another: code that runs before alyxfs, as a fault of the machine that it runs on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_PYARROW = "import sys; sys.modules['pyarrow'] = None"
"""As where the package is not installed: the module is there for nobody."""

SHIFTED_CLOCK = """
import pathlib, time
real = time.time
shift = pathlib.Path({file!r})
time.time = lambda: real() + float(shift.read_text())
"""
"""The machine's clock is off by as many seconds as stand in ``file``, at each moment."""


def python_with(folder: Path, code: str) -> dict[str, str]:
    """The environment in which this code runs first in every Python process; ``folder`` is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
