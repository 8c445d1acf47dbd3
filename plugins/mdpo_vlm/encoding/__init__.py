"""Encode examples as token ids and image inputs, with the processor and chat template of the model."""
