"""Corruptions that use another row's pictures, or its pictures and its prompt."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import Corruption, DataError, Example, ExampleField, Problem, SelectiveCorruption, rows_in_random_order
from mdpo_corruptions.similar import by_cosine, by_similarity


class OtherImage(SelectiveCorruption):
    """Use the images of another row, a random one (mDPO, arXiv:2406.11839, table 3) or the most similar one.

    The other row has as many images. Rows with the same pictures do not count: in many data sets one picture has
    several questions. Only the images that the option ``images`` selects are compared and replaced.

    Images are similar if their lighter and darker areas agree (`similar.py`), or if the ``embedding`` of their rows has
    a high cosine, as in Re-Align (arXiv:2502.13146), which uses CLIP's. Each process reads all rows once.
    """

    choose: Literal["random", "most_similar"] = Field(default="random", description="which other row")
    embedding: str | None = Field(
        default=None,
        description="name of a vector in the reader's option vectors; the row with the highest cosine is the most "
        "similar; null: compare lighter and darker areas of the images",
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.embedding is not None and self.choose == "random":
            raise ValueError("embedding has no effect with 'choose: random'; set 'choose: most_similar'")
        return self

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {} if self.embedding is None else {"vectors": (self.embedding,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected = self.selected(example, rng)
        for row in self._rows(example, data, selected, rng):
            other = data[row]
            if other.id != example.id and _is_fit(other, example, selected):
                return _exchanged(example, other, selected)
        message = (
            f"other_image found none of {len(data)} rows with another id, as many images ({len(example.images)}) "
            "and different pictures; the data needs at least two such rows"
        )
        raise DataError([Problem(f"example '{example.id}'", "", message)])

    def _rows(
        self, example: Example, data: Sequence[Example], selected: Sequence[int], rng: random.Random
    ) -> Iterable[int]:
        """Row numbers, in the order in which `apply` tries them."""
        if self.choose == "random":
            return rows_in_random_order(len(data), rng)
        if self.embedding is not None:
            return by_cosine(example, data, self.embedding)
        return by_similarity(example, data, selected)


def _is_fit(other: Example, example: Example, selected: Sequence[int]) -> bool:
    if len(other.images) != len(example.images):
        return False
    pairs = [(other.images[index], example.images[index]) for index in selected]
    return any(new.size != old.size or new.tobytes() != old.tobytes() for new, old in pairs)


def _exchanged(example: Example, other: Example, selected: Sequence[int]) -> Example:
    pairs = enumerate(zip(example.images, other.images, strict=True))
    return replace(example, images=tuple(new if index in selected else old for index, (old, new) in pairs))


class Mismatched(Corruption):
    """Use the prompt and images of a random other row, for the baseline of KTO (arXiv:2402.01306).

    The authors' code pairs each response with the next prompt of its micro-batch.
    """

    needs_image: ClassVar[bool] = False

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        for row in rows_in_random_order(len(data), rng):
            other = data[row]
            if other.id != example.id and _question(other) != _question(example):
                return replace(
                    example,
                    prompt=other.prompt,
                    images=other.images,
                    videos=other.videos,
                    frame_times=other.frame_times,
                )
        message = f"mismatched found none of {len(data)} rows with another id and another prompt or image"
        raise DataError([Problem(f"example '{example.id}'", "", message)])


def _question(example: Example) -> tuple[object, ...]:
    return example.prompt, [(image.size, image.tobytes()) for image in example.images]
