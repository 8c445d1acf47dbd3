"""Count the pairs of named formats many rows at once: one by one, a million rows would take most of a minute."""
