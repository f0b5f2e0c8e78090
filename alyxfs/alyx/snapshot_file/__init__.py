"""All that is known of a server in one file, from which drives are mounted that ask the server nothing.

Promises: no token, password or place of the one who made it is in the file; whatever stands in it is checked and
bounded before it is used; a file that is damaged is told in one sentence.
Needs: ``store`` and ``alyx.datasets``, whose files are what it holds.
"""

from alyxfs.alyx.snapshot_file.form import Manifest, read_manifest
from alyxfs.alyx.snapshot_file.known import copy_known
from alyxfs.alyx.snapshot_file.pack import pack
from alyxfs.alyx.snapshot_file.silent_api import SilentApi
from alyxfs.alyx.snapshot_file.unpack import Unpacked, unpacked

__all__ = ["Manifest", "SilentApi", "Unpacked", "copy_known", "pack", "read_manifest", "unpacked"]
