"""What mdpo adds to the ``config.json`` of a checkpoint that it converted."""

from __future__ import annotations

# The key under which the traits stand: `num_words`, the rows of the vocabulary that text uses; `image_text`, what a
# ready-made prompt holds for an image; `ends_in_prompts`, whether end tokens stay in ready-made prompts.
TRAITS = "mdpo"
