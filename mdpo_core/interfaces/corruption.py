"""Corruptions: changes to an example that make its chosen response a worse answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.component import Component
from mdpo_core.types.example import Example, ExampleField

if TYPE_CHECKING:
    import random

    from PIL.Image import Image


class Corruption(Component):
    """A change to an example, mostly to its image, that makes its chosen response a worse answer."""

    kind: ClassVar[str] = "corruption"
    draw: Literal["once", "epoch"] = Field(
        default="once", description="the same corrupted image in every epoch, or a new one in each"
    )

    @abstractmethod
    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        """The corrupted example. All randomness comes from ``rng``; ``example`` and ``data`` do not change."""

    # Set to False if it also changes rows without images.
    needs_image: ClassVar[bool] = True

    def applies_to(self, example: Example) -> bool:
        """Whether it can change this row. A row that it cannot change stays as it is, and terms leave it out."""
        return bool(example.images) or not self.needs_image

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        """Names that it reads from a row besides prompt and images, by field of `Example`.

        Every row that it gets has them, and none is empty.
        """
        return {}


class SelectiveCorruption(Corruption):
    """A corruption that may leave some of a row's images unchanged."""

    images: Literal["all", "first", "random"] | Annotated[int, Field(ge=0, strict=True)] = Field(
        default="all",
        description="which of a row's images it changes: all, first, random (one of them), or the image with this "
        "index, from 0",
    )

    def selected(self, example: Example, rng: random.Random) -> Sequence[int]:
        """The indices of the images to be changed, from 0; empty for a row without images.

        Only ``random`` draws from ``rng``. Raises `DataError` if the row has too few images.
        """
        count = len(example.images)
        if self.images == "all" or not count:
            return range(count)
        if self.images == "random":
            return (rng.randrange(count),)
        index = 0 if self.images == "first" else self.images
        if index < count:
            return (index,)
        message = f"a corruption changes image {index}, counted from 0 (images: {index}); the row has {count}"
        raise DataError([Problem(f"example '{example.id}'", "", message)])


class ImageCorruption(SelectiveCorruption):
    """A corruption that changes each image by itself."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected = self.selected(example, rng)
        images = [self(image, rng) if index in selected else image for index, image in enumerate(example.images)]
        return replace(example, images=tuple(images))

    @abstractmethod
    def __call__(self, image: Image, rng: random.Random) -> Image:
        """A corrupted copy of an RGB image, of the same size."""
