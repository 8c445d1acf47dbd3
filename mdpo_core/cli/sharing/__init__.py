"""The command that uploads a trained model."""
