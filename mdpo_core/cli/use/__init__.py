"""The command that asks a trained model."""
