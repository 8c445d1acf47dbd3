"""A micro-batch of pairs with a photograph's size and answers of a given length."""

from __future__ import annotations

import PIL.Image

from mdpo_core import Example, Recipe
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.types.batch import Batch

PICTURE = (640, 480)


def batch_of(recipe: Recipe, num_pairs: int, tokens: int) -> Batch:
    """Pairs whose chosen answer has ``tokens`` tokens and the rejected one half of them, under the recipe's views.

    They have no common beginning, which would be computed once.
    """
    encoder = recipe.model.encoder()
    picture = PIL.Image.effect_noise(PICTURE, 64).convert("RGB")
    answers = {"chosen": "a" + " a" * (tokens - 2), "rejected": "b" + " a" * (tokens // 2)}
    rows = [
        Example(str(number), "<image>\nWhat is unusual about the picture?", answers, (picture.rotate(number),))
        for number in range(num_pairs)
    ]
    builder = BatchBuilder.for_terms(recipe.objective, recipe.corruptions, encoder, 32768, seed=0)
    return builder.build(rows, range(len(rows)), epoch=0)
