"""What another row lends: its pictures, or its whole prompt."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import Corruption, DataError, Example, ExampleField, Problem, SelectiveCorruption, rows_in_random_order
from mdpo_corruptions.similar import by_cosine, by_similarity


class OtherImage(SelectiveCorruption):
    """The images of another row with as many: a random one (mDPO, arXiv:2406.11839, table 3), or the most similar.

    Rows of the same pictures, which are common where one picture has several questions, are not other rows. An image
    that ``images`` leaves alone stays, and its place in the other row is not looked at.

    Similar images are those whose lighter and darker places agree (`similar.py`), or whose rows' ``embedding`` has the
    nearest direction, as Re-Align (arXiv:2502.13146) retrieves them by CLIP's. Each process reads all rows once.
    """

    choose: Literal["random", "most_similar"] = Field(default="random", description="which other row")
    embedding: str | None = Field(
        default=None,
        description="the name of the vector, as the reader's option vectors gives it, whose cosine says which row is "
        "most similar; null: lighter and darker places of the images themselves",
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.embedding is not None and self.choose == "random":
            raise ValueError("embedding says which row is most similar, and this one is random; choose: most_similar")
        return self

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {} if self.embedding is None else {"vectors": (self.embedding,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected = self.selected(example, rng)
        for row in self._rows(example, data, selected, rng):
            other = data[row]
            if other.id != example.id and _is_fit(other, example, selected):
                return _exchanged(example, other, selected)
        text = (
            f"other_image found none of {len(data)} rows with another id, as many images ({len(example.images)}) "
            "and other pictures; the data needs at least two such rows"
        )
        raise DataError([Problem(f"example '{example.id}'", "", text)])

    def _rows(
        self, example: Example, data: Sequence[Example], selected: Sequence[int], rng: random.Random
    ) -> Iterable[int]:
        """Rows that may be fit, in the order in which they are tried."""
        if self.choose == "random":
            return rows_in_random_order(len(data), rng)
        if self.embedding is not None:
            return by_cosine(example, data, self.embedding)
        return by_similarity(example, data, selected)


def _is_fit(other: Example, example: Example, selected: Sequence[int]) -> bool:
    if len(other.images) != len(example.images):
        return False
    pairs = [(other.images[number], example.images[number]) for number in selected]
    return any(one.size != two.size or one.tobytes() != two.tobytes() for one, two in pairs)


def _exchanged(example: Example, other: Example, selected: Sequence[int]) -> Example:
    pairs = enumerate(zip(example.images, other.images, strict=True))
    return replace(example, images=tuple(new if number in selected else own for number, (own, new) in pairs))


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
