"""Answers to a benchmark are read from a file, and scored."""
