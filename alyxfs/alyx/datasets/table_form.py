"""The form of the server's cache tables, and of the file that is made of them.

A module of its own, so that the process that reads them (see table_reader) imports little.
"""

from __future__ import annotations

import re

TABLES = ("sessions.pqt", "datasets.pqt")
"""The members of ``/cache.zip`` that are kept; ONE looks for files of these names."""
INFO = "cache_info.json"
"""Another member: when they were made."""

SESSION_COLUMNS = ["id", "lab", "subject", "date", "number"]
DATASET_COLUMNS = ["eid", "id", "rel_path", "file_size", "hash", "default_revision", "qc"]
PATH = re.compile(r"(?:(?P<collection>[^#]*)/)?(?:#(?P<revision>[^/#]+)#/)?(?P<name>[^/]+)")
"""``<collection>/#<revision>#/<name>``, the first two missing at times."""

COLUMNS = "tables.columns"
"""The file that is made of them, and read."""
LEFT_OUT = "left_out"
"""In the file of columns: how many rows were not as they should be."""
UNKNOWN = -1
"""A session's number, or a file's size, that the tables do not tell."""

LINES = ("sessions.lines", "datasets.lines")
"""Files of rows of which tables are to be made (see ``table_writer``), in the order of TABLES."""
ABOUT_LINES = "lines.json"
"""What these tables are to say of themselves."""
