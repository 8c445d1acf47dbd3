"""The three-view step beside the paper's algorithm and TRL: ``python -m benchmarks.speed``."""
