"""The formats in which trainers keep preference data."""
