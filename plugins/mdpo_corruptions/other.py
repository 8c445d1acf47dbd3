"""The picture of another row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from mdpo_core import Corruption, DataError, Example, Problem

_TRIES = 100


class OtherImage(Corruption):
    """The images of a random other row with as many images (mDPO, arXiv:2406.11839, table 3)."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        # Rows are drawn blindly, because to look through all of them would be to decode every picture.
        for _ in range(_TRIES):
            other = data[rng.randrange(len(data))]
            if other.id != example.id and len(other.images) == len(example.images):
                return replace(example, images=other.images)
        wanted = f"{len(example.images)} image{'s' if len(example.images) > 1 else ''}"
        text = f"other_image found no other row with {wanted} in {_TRIES} draws from {len(data)} rows"
        raise DataError([Problem(f"example '{example.id}'", "", text)])
