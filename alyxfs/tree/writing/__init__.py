"""Writing in the tree: open drafts, scratch files, and what each name of a directory stands for meanwhile.

Promises: what a program saved is sent or kept as refused, with the error where the program looks for it; nothing that
an editor does to save becomes a delete.
Needs: ``edits`` to save, ``tree`` for the nodes of what is not being written.
"""
