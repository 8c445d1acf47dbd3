"""The commands on benchmarks."""
