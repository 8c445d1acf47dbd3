"""The files of a model: found on the disk or the hub, and read without loading the model."""
