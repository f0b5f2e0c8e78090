"""Listings and records: in memory, in the store, asked for when they are too old.

Promises: one request for one record or page however many ask; nothing older than its time to live unless the server is
away, and then it is marked stale; a change made here shows at once.
Needs: ``alyx.rest`` and ``alyx.pagination`` to ask, ``alyx.schema`` and ``alyx.quirks`` to know which field is which,
``store`` to remember across mounts.
"""
