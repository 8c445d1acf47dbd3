"""What is logged while a run goes on, and kept with it."""
