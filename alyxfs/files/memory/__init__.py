"""Memory that bytes take on their way: the pool of buffers, and the limit of all of them together.

Promises: what is handed out is counted until it is released; who waits for room gets it in the end.
Needs: nothing of files or network.
"""
