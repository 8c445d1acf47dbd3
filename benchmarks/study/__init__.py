"""The paper's Tables 2 to 4, and DPO with and without the picture, in miniature: ``python -m benchmarks.study``."""
