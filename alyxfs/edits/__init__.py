"""Writes: drafts, merge, validation, journal, and the one facade through which the tree changes the database.

Promises: what is sent stands in the journal first and is sent once; what others changed meanwhile is merged or refused;
after it one knows what the server did, or is told that one does not; a refused draft is kept.
Needs: ``alyx.rest`` to send, ``alyx.metadata`` to read again, ``alyx.schema`` and ``alyx.quirks`` to check.
"""

from alyxfs.alyx.quirks.writing import FIELD_OF_FILTER
from alyxfs.edits.drafts import Draft, Moment, SharedMemory, Step, next_step
from alyxfs.edits.editor import Editor
from alyxfs.edits.entry import Entry, State
from alyxfs.edits.journal import Journal, count_staged
from alyxfs.edits.new_records import NewRecord
from alyxfs.edits.rejected import reasons_in
from alyxfs.edits.request import SaveResult
from alyxfs.edits.staging import Staging
from alyxfs.edits.write_tasks import WriteTasks

__all__ = [
    "FIELD_OF_FILTER",
    "Draft",
    "Editor",
    "Entry",
    "Journal",
    "Moment",
    "NewRecord",
    "SaveResult",
    "SharedMemory",
    "Staging",
    "State",
    "Step",
    "WriteTasks",
    "count_staged",
    "next_step",
    "reasons_in",
]
