"""Checkpoints in the layout of the project that published them, converted to the layout of transformers."""
