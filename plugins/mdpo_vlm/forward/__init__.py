"""A loaded model: images to features, tokens to hidden states and logits, prompts to responses."""
