"""A micro-batch: token ids and image inputs, not yet laid out in rows (that is the scorer's business)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.view import View


# One image as a model takes it: tensors by the names that it has for them, in shapes that may depend on the image.
ImageInputs: TypeAlias = "Mapping[str, Tensor]"


def same_inputs(one: ImageInputs, other: ImageInputs) -> bool:
    """Whether a model sees the same image in both."""
    return one.keys() == other.keys() and all(values.equal(other[name]) for name, values in one.items())


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt under one image condition.

    ``token_ids``: ``(time,)`` int64, with each ``<image>`` mark expanded to its image tokens. ``images``: the inputs
    of each image, in order.
    """

    token_ids: Tensor
    images: tuple[ImageInputs, ...] = ()


@dataclass(frozen=True)
class EncodedImage:
    """An image behind a model's vision encoder: ``features`` ``(image_tokens, width)``, and the inputs it had."""

    features: Tensor
    inputs: ImageInputs


@dataclass(frozen=True)
class Batch:
    """Rows to be scored, on the CPU.

    ``prompts[condition][row]`` and ``responses[name][row]``: token ids ``(time,)`` int64, a response's end token
    included. ``images``: the inputs of every distinct image, once; ``pictures[condition][row]``: which of them the
    prompt shows, in order. ``digests[view][row]`` tells apart
    everything a model sees of a view. ``columns[name]`` ``(batch,)``; ``applies`` ``(batch,)`` bool: the row has an
    image.
    """

    ids: tuple[str, ...]
    prompts: Mapping[str, tuple[Tensor, ...]]
    responses: Mapping[str, tuple[Tensor, ...]]
    pictures: Mapping[str, tuple[tuple[int, ...], ...]]
    images: tuple[ImageInputs, ...]
    digests: Mapping[View, tuple[bytes, ...]]
    columns: Mapping[str, Tensor]
    applies: Tensor

    def __len__(self) -> int:
        return len(self.ids)
