"""Trackers that keep many runs, each through its own library."""
