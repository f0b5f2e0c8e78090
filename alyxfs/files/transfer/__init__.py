"""Bytes on their way from a file server: segments of a file, the task that carries one out, what an answer says.

Promises: a segment ends with all its bytes, or with the one error of all who wait for it; after a break it goes on at
the byte it reached; another content than before is found out.
Needs: ``net`` for one ranged request, ``files.memory`` for where the bytes go, ``files.disk`` to save them.
"""
