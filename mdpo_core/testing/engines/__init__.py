"""The contracts of what trains: backends, and optimizers in an engine."""
