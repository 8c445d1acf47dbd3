"""How a model writes answers: with `generate` of transformers, each as if its prompt were alone."""
