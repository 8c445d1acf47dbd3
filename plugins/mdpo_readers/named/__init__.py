"""Named formats: those of trainers, and those of published collections."""
