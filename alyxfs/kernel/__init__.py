"""The kernel's requests, answered from the tree. Nothing else imports pyfuse3 or knows errno.

Promises: each request has an answer within the deadline, a defect included; an inode's number means one thing while the
kernel knows it; what changed is asked for again.
Needs: ``tree`` for nodes; nothing of HTTP.
"""

from alyxfs.kernel.invalidation import Invalidation
from alyxfs.kernel.operations import Kernel
from alyxfs.kernel.session import serve
from alyxfs.kernel.trace_file import TraceFile
from alyxfs.kernel.traces import Trace, Traces

__all__ = ["Invalidation", "Kernel", "Trace", "TraceFile", "Traces", "serve"]
