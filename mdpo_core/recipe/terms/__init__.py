"""What only terms have."""
