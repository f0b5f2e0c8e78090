"""Animals and the projects they belong to."""
