"""Tables that are read in order, a block of rows at a time."""
