"""The REST API of Alyx: log-in, requests, pages, and (in its rooms) schema, quirks, metadata, datasets.

Promises: an answer is what the server said of what was asked, or a domain error with a sentence for people; a walk of
pages shows each record once, none missing. A log-in is renewed once, never tried with the same password again.
Needs: ``net`` for requests; ``store`` for what is known across mounts; nothing of files, drives or errno.
"""
