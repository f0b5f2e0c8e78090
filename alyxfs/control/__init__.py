"""Commands to a running drive: the private socket that takes them, and what each does.

Promises: only the drive's owner is heard; a command ends with an answer or a sentence that says why not.
Needs: ``tree`` and ``edits`` for what is done, ``kernel`` for what it must ask again.
"""
