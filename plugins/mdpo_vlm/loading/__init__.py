"""Weights: read from a folder, placed on a device, checked, and marked if they train."""
