"""Files of rows, by their kinds: where each row is, and what is in it."""
