"""Preference pairs over mosaics, made when indexed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from mdpo_core import Example
from mdpo_digits.world import PROMPT, Split, caption, draw_mosaic, with_mistakes


@dataclass(frozen=True)
class DigitPairs(Sequence[Example]):
    """Row ``i`` is a function of the seed and ``i``: nothing is stored, and any row is as near as any other."""

    num_pairs: int
    style_cue: float
    seed: int
    split: Split

    def __len__(self) -> int:
        return self.num_pairs

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._example(row)

    def _example(self, row: int) -> Example:
        rng = random.Random(f"{self.split}|{self.seed}|{row}")
        mosaic = draw_mosaic(rng, self.split)
        chosen_style, rejected_style = 0, 1
        if rng.random() >= self.style_cue:
            chosen_style = rejected_style = rng.randrange(2)
        wrong = with_mistakes(mosaic.digits, rng.randint(1, 2), rng)
        responses = {"chosen": caption(mosaic.digits, chosen_style), "rejected": caption(wrong, rejected_style)}
        return Example(f"{self.split}-{self.seed}-{row}", PROMPT, responses, (mosaic.image,))
