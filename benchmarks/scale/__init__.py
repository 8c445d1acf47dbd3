"""What each stage of many processes sends and keeps: ``python -m benchmarks.scale``."""
