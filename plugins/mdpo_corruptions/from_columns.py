"""Corruptions that use the row's own other images and other prompts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mdpo_core import Corruption, DataError, Example, ExampleField, Problem, SelectiveCorruption


class DatasetImage(SelectiveCorruption):
    """Another picture of the same row: a counterfactual (S-VCO, arXiv:2502.13928), a second one (SymMPO, 2506.11712).

    There is one for each of the row's images, or one for each that is touched.
    """

    picture: str = Field(description="the name of the image in the reader's option other_images")

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"other_images": (self.picture,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        selected, new = list(self.selected(example, rng)), example.other_images[self.picture]
        images = list(example.images)
        if len(new) == len(images):
            new = tuple(new[number] for number in selected)
        if len(new) != len(selected):
            raise _data_error(
                example,
                f"the picture '{self.picture}' is {len(new)} images; the row has {len(images)}, of which "
                f"{len(selected)} are touched (images: {self.images})",
            )
        for number, picture in zip(selected, new, strict=True):
            images[number] = picture
        return replace(example, images=tuple(images))


class DatasetPrompt(Corruption):
    """Another prompt of the same row, for pairs of a prompt and a response (DOVE, arXiv:2404.00530).

    Rows without images take part, but not beside a condition that needs one.
    """

    needs_image: ClassVar[bool] = False
    prompt: str = Field(description="the name of the prompt in the reader's option other_prompts")
    picture: str | None = Field(
        default=None, description="the name of the image that it is about, in other_images; null: the row's own images"
    )

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {"other_prompts": (self.prompt,), "other_images": () if self.picture is None else (self.picture,)}

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = example.images if self.picture is None else example.other_images[self.picture]
        changed = replace(example, prompt=example.other_prompts[self.prompt], images=images)
        if changed.num_marks != len(images):
            raise _data_error(
                example,
                f"the prompt '{self.prompt}' has {changed.num_marks} <image> marks for {len(images)} images; it needs "
                "one for each",
            )
        return changed


def _data_error(example: Example, text: str) -> DataError:
    return DataError([Problem(f"example '{example.id}'", "", text)])
