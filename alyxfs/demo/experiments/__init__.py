"""Probe insertions, trajectories, channels, brain regions, fields of view."""
