"""The kernel's requests, answered from the tree. Nothing else imports pyfuse3 or knows errno."""

from alyxfs.kernel.mounting import serve
from alyxfs.kernel.operations import Kernel

__all__ = ["Kernel", "serve"]
