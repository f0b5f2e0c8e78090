"""Bytes of data files: fetched in blocks, kept on disk, trusted only where they are known to be right."""

from alyxfs.files.cache import FileCache, open_file_cache
from alyxfs.files.source import OpenFile, Source

__all__ = ["FileCache", "OpenFile", "Source", "open_file_cache"]
