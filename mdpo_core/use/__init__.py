"""A trained model is found on the disk, loaded, and asked about pictures."""
