"""Benchmarks: questions about pictures, a model's answers to them, and their score."""
