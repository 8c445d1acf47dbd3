"""What only a GPU can tell, in few minutes of it: ``python -m benchmarks.gpu``."""
