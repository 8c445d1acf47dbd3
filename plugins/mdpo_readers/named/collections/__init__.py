"""Published collections of preference pairs, as their authors store them."""
