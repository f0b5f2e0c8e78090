"""A small Alyx with made-up data and the files that belong to it, for the demo, the tests and the benchmarks.

Promises: it answers as the recordings of a real Alyx do; the same records, with the same UUIDs, every time. Outside the
served process only `alyxfs.demo.server` is meant to be imported, which needs none of the packages of the `demo` extra.
Needs: Django and its friends; nothing of the drive.
"""
