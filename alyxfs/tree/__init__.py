"""What the drive looks like: one module per kind of directory.

Promises: a node says what it is without a request; a look-up makes at most one; no name from the server leads out of
the drive.
Needs: ``alyx`` for records and where files stand, ``files`` for their bytes, ``edits`` to change the database.
"""

from alyxfs.alyx.datasets.catalogue import Catalogue
from alyxfs.tree.datafile import DataReader
from alyxfs.tree.drive import Drive
from alyxfs.tree.error_log import ErrorLog
from alyxfs.tree.manifest import read_of
from alyxfs.tree.node import (
    Attributes,
    Directory,
    Entries,
    File,
    FixedEntries,
    Kind,
    Link,
    Node,
    Reader,
    Writable,
    Writer,
    entries_of,
)
from alyxfs.tree.only import Only
from alyxfs.tree.tables import Tables
from alyxfs.tree.writing.editing_session import EditingSession

__all__ = [
    "Attributes",
    "Catalogue",
    "DataReader",
    "Directory",
    "Drive",
    "EditingSession",
    "Entries",
    "ErrorLog",
    "File",
    "FixedEntries",
    "Kind",
    "Link",
    "Node",
    "Only",
    "Reader",
    "Tables",
    "Writable",
    "Writer",
    "entries_of",
    "read_of",
]
