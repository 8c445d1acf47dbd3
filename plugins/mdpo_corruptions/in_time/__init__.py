"""Corruptions of videos: which frames they show, and in which order."""
