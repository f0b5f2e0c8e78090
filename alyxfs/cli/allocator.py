"""The memory of a drive's process: taken where it can be given back."""

from __future__ import annotations

import ctypes
import os
import sys


def take_from_c_library() -> None:
    """Start this program anew so that Python takes its objects' memory from the C library; returns where it does so.

    Python's own allocator gives back a megabyte when nothing in it is in use any more: after a ``find`` of 63,000
    files that was never so, and half of 116 MB lay there unused. ``malloc_trim`` gives back each page. Which allocator
    Python takes is decided when it starts (``PYTHONMALLOC``); which one that is makes no difference to the time that a
    walk or a download takes. With one arena for all threads, what one has freed serves the others: of eleven, each held
    pages that were hardly used. Returns, too, where the user has decided, or the C library is another one than glibc.
    """
    if "PYTHONMALLOC" not in os.environ and sys.executable and hasattr(ctypes.CDLL(None), "malloc_trim"):
        variables = {"MALLOC_ARENA_MAX": "1", **os.environ, "PYTHONMALLOC": "malloc"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)  # noqa: S606 - this very program
