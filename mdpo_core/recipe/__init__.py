"""From YAML to a recipe, or to every problem with it."""
