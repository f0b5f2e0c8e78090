"""Writes: drafts, merge, validation, journal, and the one facade through which the tree changes the database."""
