"""A loaded model: it turns images into features, tokens into hidden states and logits, prompts into responses."""
