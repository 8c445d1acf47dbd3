"""Examples to token ids and image inputs, by the processor and chat template of the model."""
