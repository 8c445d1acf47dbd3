"""Noise in training."""
