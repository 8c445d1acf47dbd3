"""Small models that come with a plugin: how they are made, and their adapter."""
