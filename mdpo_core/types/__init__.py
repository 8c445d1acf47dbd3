"""The values that flow through a run: examples, views, batches, layouts, scores, the state of an engine."""
