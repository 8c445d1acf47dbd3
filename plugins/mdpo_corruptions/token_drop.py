"""Corruptions behind the picture: of the tokens that a model makes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from mdpo_core import Corruption, DroppedTokens, Example


class TokenDrop(Corruption):
    """A share of the image tokens dropped by the attention mask, as in BDHS (arXiv:2407.02477).

    Each is dropped with probability ``share``, by itself: nothing attends to it, and others keep their positions. It
    is the tokens of all images.
    """

    share: float = Field(default=0.99, ge=0, le=1, description="probability of each image token to be dropped")

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(example, dropped=DroppedTokens(self.share, rng.getrandbits(63)))
