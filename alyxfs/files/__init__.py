"""Bytes of data files: fetched in blocks, kept on disk, trusted only where they are known to be right.

Promises: a byte that is given without an error is the server's; a read costs the blocks that it touches; two readers of
one block make one request; memory and disk stay within their limits.
Needs: ``net`` for ranges of a file; a ``Source`` that says where it is, how large, and which hash it has.
"""

from alyxfs.files.cache import FileCache, open_file_cache
from alyxfs.files.delivery import delivery_of
from alyxfs.files.doubts import NO_BYTES
from alyxfs.files.source import OpenFile, Source

__all__ = ["NO_BYTES", "FileCache", "OpenFile", "Source", "delivery_of", "open_file_cache"]
