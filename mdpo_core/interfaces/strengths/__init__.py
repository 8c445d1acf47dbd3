"""Options of terms that differ from row to row."""
