"""`mdpo convert`: recipes from the configurations of other trainers."""
