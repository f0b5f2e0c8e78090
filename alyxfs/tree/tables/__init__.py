"""Listings as one file: tables that are written while they are read.

Promises: no size is shown that is not true; a table is made once while it is fresh; memory is bounded.
Needs: ``alyx`` for the rows of a list and for the files of ``data/``, and a folder on the disk.
"""

from alyxfs.tree.tables.kept import Tables

__all__ = ["Tables"]
