"""Makes up the data: the same records, with the same UUIDs, every time."""
