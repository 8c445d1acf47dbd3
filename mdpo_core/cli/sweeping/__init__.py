"""`mdpo sweep`: a grid of runs."""
