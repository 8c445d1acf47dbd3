"""The values that flow through a run."""
