"""What a plugin implements: one file for each kind of component."""
