"""What is kept on disk: block files with the map of what they hold, eviction, pins, and sizes learned.

Promises: what the map marks was written whole; several drives share a cache; what is pinned stays; the rest goes before
the disk is full. A cache that is removed or damaged costs time only.
Needs: a directory; nothing of the network.
"""
