"""The entries that mdpo adds to the ``config.json`` of a checkpoint that it converted."""

from __future__ import annotations

# The key of the traits: `num_words`, the number of vocabulary rows that text uses; `image_text`, the text for an image
# in a ready-made prompt; `ends_in_prompts`, whether end tokens stay in ready-made prompts.
TRAITS = "mdpo"
