"""Preference pairs that a model makes."""
