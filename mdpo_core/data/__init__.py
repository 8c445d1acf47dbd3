"""Rows: checked, ordered, corrupted, encoded."""
