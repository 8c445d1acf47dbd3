"""What a new user meets first: examples in every help, completion, shipped recipes and new ones."""
