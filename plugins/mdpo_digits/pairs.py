"""Preference pairs over mosaics; a pair is made when it is indexed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mdpo_core import Example, LazyRows
from mdpo_digits.mosaics import PROMPT, Split, caption, draw_mosaic, with_mistakes


@dataclass(frozen=True)
class DigitPairs(LazyRows):
    """Rows that are computed from the seed and the row's number; nothing is stored."""

    num_pairs: int
    style_cue: float
    seed: int
    split: Split

    def __len__(self) -> int:
        return self.num_pairs

    def row(self, number: int) -> Example:
        rng = random.Random(f"{self.split}|{self.seed}|{number}")
        mosaic = draw_mosaic(rng, self.split)
        chosen_style, rejected_style = 0, 1
        if rng.random() >= self.style_cue:
            chosen_style = rejected_style = rng.randrange(2)
        wrong = with_mistakes(mosaic.digits, rng.randint(1, 2), rng)
        responses = {"chosen": caption(mosaic.digits, chosen_style), "rejected": caption(wrong, rejected_style)}
        return Example(f"{self.split}-{self.seed}-{number}", PROMPT, responses, (mosaic.image,))
