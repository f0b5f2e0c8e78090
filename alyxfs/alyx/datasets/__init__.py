"""Data files: which there are, and where each stands in ONE's layout.

Promises: all sessions and files as of one moment, from the server's cache tables and what changed since; what is gone
there goes here; a path is the one that ONE would give. A table that cannot be read costs requests, never files.
Needs: ``alyx.rest`` and ``alyx.pagination`` for what changed, ``alyx.metadata`` for freshness, ``net`` for the tables'
archive, ``store`` to keep the snapshot.
"""
