"""Labs, users, places, notes."""
