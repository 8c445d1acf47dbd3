"""AMBER: descriptions of pictures, and yes/no questions about them."""
