"""Corruptions: changes to an example that make its chosen answer a worse one."""

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
    """A change to an example that makes its chosen answer a worse one: most often, to its image."""

    kind: ClassVar[str] = "corruption"
    draw: Literal["once", "epoch"] = Field(
        default="once", description="the same corrupted image in every epoch, or a new one in each"
    )

    @abstractmethod
    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        """The corrupted example. All randomness comes from ``rng``; ``example`` and ``data`` stay as they were."""

    # False for one that changes rows without an image, too; they have no condition otherwise.
    needs_image: ClassVar[bool] = True

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        """The names of what it takes from a row besides prompt and images, under the field of `Example` they stand in.

        They are there, and not empty, in every row that it is given.
        """
        return {}


class SelectiveCorruption(Corruption):
    """A corruption that may leave some of a row's images as they are."""

    images: Literal["all", "first", "random"] | Annotated[int, Field(ge=0, strict=True)] = Field(
        default="all",
        description="which of a row's images it touches: all, first, random (one of them), or the one of this number, "
        "from 0",
    )

    def selected(self, example: Example, rng: random.Random) -> Sequence[int]:
        """The numbers of the images to be touched, from 0; `DataError` if the row has too few.

        Only ``random`` draws from ``rng``. A row without images has none to touch.
        """
        count = len(example.images)
        if self.images == "all" or not count:
            return range(count)
        if self.images == "random":
            return (rng.randrange(count),)
        number = 0 if self.images == "first" else self.images
        if number < count:
            return (number,)
        text = f"a corruption touches image {number}, counted from 0 (images: {number}); the row has {count}"
        raise DataError([Problem(f"example '{example.id}'", "", text)])


class ImageCorruption(SelectiveCorruption):
    """A corruption that looks at one image at a time."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected = self.selected(example, rng)
        return replace(
            example,
            images=tuple(
                self(image, rng) if number in selected else image for number, image in enumerate(example.images)
            ),
        )

    @abstractmethod
    def __call__(self, image: Image, rng: random.Random) -> Image:
        """A corrupted copy of an RGB image, of the same size."""
