"""Tasks that process a session."""
