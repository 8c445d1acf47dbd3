"""What runs have left, for people: the report of one run, and several side by side."""
