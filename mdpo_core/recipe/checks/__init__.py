"""What the sections of a recipe need of each other: a file for each part of it."""
