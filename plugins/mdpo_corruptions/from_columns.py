"""Corruptions that use other images and other prompts of the same row."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mdpo_core import Corruption, DataError, Example, ExampleField, Problem, SelectiveCorruption


class DatasetImage(SelectiveCorruption):
    """Use another picture of the row: a counterfactual (S-VCO, arXiv:2502.13928), a second one (SymMPO, 2506.11712).

    The row has one other picture for each of its images, or one for each image that the option ``images`` selects.
    """

    picture: str = Field(description="name of the other image, as in the reader's option other_images")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"other_images": (self.picture,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected, new = list(self.selected(example, rng)), example.other_images[self.picture]
        images = list(example.images)
        if len(new) == len(images):
            new = tuple(new[index] for index in selected)
        if len(new) != len(selected):
            raise _data_error(
                example,
                f"other_images '{self.picture}' has {len(new)} images, but the row has {len(images)} images and "
                f"'images: {self.images}' selects {len(selected)}; give one for each of either",
            )
        for index, picture in zip(selected, new, strict=True):
            images[index] = picture
        return replace(example, images=tuple(images))


class DatasetPrompt(Corruption):
    """Use another prompt of the row, for preferences over pairs of prompt and response (DOVE, arXiv:2404.00530).

    It also changes rows without images, unless another condition of the recipe needs an image.
    """

    needs_image: ClassVar[bool] = False
    prompt: str = Field(description="name of the other prompt, as in the reader's option other_prompts")
    picture: str | None = Field(
        default=None, description="name in other_images of the prompt's images; null: the images of the row"
    )

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"other_prompts": (self.prompt,), "other_images": () if self.picture is None else (self.picture,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        changed = replace(example, prompt=example.other_prompts[self.prompt])
        if self.picture is not None:
            changed = replace(changed, images=example.other_images[self.picture], videos=(), frame_times=())
        images = changed.images
        if changed.num_marks != len(images):
            raise _data_error(
                example,
                f"the prompt '{self.prompt}' has {changed.num_marks} <image> marks for {len(images)} images; it needs "
                "one for each",
            )
        return changed


def _data_error(example: Example, message: str) -> DataError:
    return DataError([Problem(f"example '{example.id}'", "", message)])
