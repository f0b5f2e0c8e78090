"""Bytes of data files: fetched in blocks, kept on disk, trusted only where they are known to be right.

Promises: a byte that is given without an error is the server's; a read costs the blocks that it touches; two readers of
one block make one request; memory and disk stay within their limits.
Needs: ``net`` for ranges of a file; a ``Source`` that says where it is, how large, and which hash it has.
Commands that read what is kept on disk begin without the network, so nothing is imported here: see ``files.cache``.
"""
