"""What will be wanted next: windows of runs, strides, formats, siblings, and whether there is room for it.

Promises: what is fetched ahead never makes a reader wait for room; random readers cost no byte more than they read.
Needs: what was read, the header of a file, and an ``open`` for the files beside it.
"""
