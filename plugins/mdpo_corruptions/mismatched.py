"""Responses under the prompt of another row, which they do not answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from mdpo_core import Corruption, DataError, Example, Problem, rows_in_random_order


class Mismatched(Corruption):
    """The prompt and images of a random other row: what KTO's baseline is measured under (arXiv:2402.01306).

    The authors pair each response with the next prompt of its micro-batch.
    """

    needs_image: ClassVar[bool] = False

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        for row in rows_in_random_order(len(data), rng):
            other = data[row]
            if other.id != example.id and _question(other) != _question(example):
                return replace(example, prompt=other.prompt, images=other.images)
        text = f"mismatched found none of {len(data)} rows with another id and another prompt or image"
        raise DataError([Problem(f"example '{example.id}'", "", text)])


def _question(example: Example) -> tuple[object, ...]:
    return example.prompt, [(image.size, image.tobytes()) for image in example.images]
