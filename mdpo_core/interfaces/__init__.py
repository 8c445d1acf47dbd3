"""What a plugin implements: one file for each kind of component, with the protocols of the objects that it creates."""
