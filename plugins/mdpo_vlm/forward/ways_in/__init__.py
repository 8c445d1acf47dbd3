"""Ways in which the pictures of a single family enter its language model."""
