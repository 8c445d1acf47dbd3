"""Mutators: they damage the structure of good inputs, not only their values."""
