"""A corruption that changes which image tokens the model attends to, not the picture."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from mdpo_core import Corruption, DroppedTokens, Example


class TokenDrop(Corruption):
    """Drop a share of the image tokens with the attention mask, as in BDHS (arXiv:2407.02477).

    Each token of all images is dropped independently, with probability ``share``: nothing attends to it. Other tokens
    keep their positions.
    """

    share: float = Field(default=0.99, ge=0, le=1, description="probability that an image token is dropped")

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return replace(example, dropped=DroppedTokens(self.share, rng.getrandbits(63)))
