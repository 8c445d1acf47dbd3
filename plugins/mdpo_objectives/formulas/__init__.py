"""What the formulas of several terms share; nothing here is a term."""
