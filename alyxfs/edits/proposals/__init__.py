"""Writes that are kept and shown, and sent to nobody: what a dry run makes of saves.

Promises: everything above sees one state, that in which each proposal was sent; the server sees no write; a proposal
that what the server has now does not allow is told as a conflict, and raises nothing.
Needs: ``alyx.rest`` to read, ``alyx.quirks`` for what the server would answer, ``edits.merge`` to lay them over it.
"""

from alyxfs.edits.proposals.api import ProposedApi
from alyxfs.edits.proposals.journal import ProposalJournal, StagingJournal

__all__ = ["ProposalJournal", "ProposedApi", "StagingJournal"]
