"""A judge: a model that reads answers, asked through a server, or replayed from its saved replies."""
