"""What a run costs, as a user sees it: memory, and time."""
