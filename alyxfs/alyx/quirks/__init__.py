"""What the schema does not say of reading, of writing and of what a delete loses: tables, each row with its source.

Promises: an oddity of an endpoint stands here. Elsewhere an endpoint is named only where the drive does something of
its own with it: where its records lead (tree/links), what is in data/ (alyx/datasets/index), pictures of notes, and
what a filter selects among staged records (edits/proposals/selection).
Needs: nothing.
"""
