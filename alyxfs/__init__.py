"""alyxfs mounts an Alyx database as a drive."""

__version__ = "0.1.0"
