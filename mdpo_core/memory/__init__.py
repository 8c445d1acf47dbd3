"""How much memory a training step needs, before a weight is loaded."""
