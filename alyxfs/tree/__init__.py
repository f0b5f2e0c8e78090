"""What the drive looks like: one module per kind of directory."""

from alyxfs.tree.catalogue import Catalogue
from alyxfs.tree.datafile import DataReader
from alyxfs.tree.drive import Drive
from alyxfs.tree.node import Attributes, Directory, Entries, File, Kind, Link, Node, Reader, Writable, Writer
from alyxfs.tree.workbench import Workbench

__all__ = [
    "Attributes",
    "Catalogue",
    "DataReader",
    "Directory",
    "Drive",
    "Entries",
    "File",
    "Kind",
    "Link",
    "Node",
    "Reader",
    "Workbench",
    "Writable",
    "Writer",
]
