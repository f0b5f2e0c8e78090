"""Writes: drafts, merge, validation, journal, and the one facade through which the tree changes the database."""

from alyxfs.edits.commit import Editor
from alyxfs.edits.drafts import Draft, Moment, SharedMemory, Step, next_step
from alyxfs.edits.exchange import SaveResult
from alyxfs.edits.journal import Entry, Journal, State
from alyxfs.edits.quirks import FIELD_OF_FILTER

__all__ = [
    "FIELD_OF_FILTER",
    "Draft",
    "Editor",
    "Entry",
    "Journal",
    "Moment",
    "SaveResult",
    "SharedMemory",
    "State",
    "Step",
    "next_step",
]
