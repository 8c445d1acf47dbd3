"""Pairs made by a model: rejected answers that it wrote, and candidates that it scored."""
