"""What is measured on held-out rows."""
