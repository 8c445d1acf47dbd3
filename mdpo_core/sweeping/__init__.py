"""A sweep: runs of one recipe with different options, each in a directory of its own."""
