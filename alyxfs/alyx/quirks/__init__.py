"""What the schema does not say of reading, of writing and of what a delete loses: tables, each row with its source.

Promises: an oddity of an endpoint stands here and in no ``if`` elsewhere.
Needs: nothing.
"""
