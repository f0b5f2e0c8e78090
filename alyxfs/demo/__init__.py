"""A small Alyx with made-up data and the files that belong to it, for the demo, the tests and the benchmarks.

Outside the served process only `alyxfs.demo.server` is meant to be imported: it needs none of the packages of the
`demo` extra.
"""
