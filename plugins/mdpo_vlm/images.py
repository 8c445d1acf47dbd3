"""Images through a model's vision encoder and projector, and on to its language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, ImageInputs
from mdpo_vlm.families import Family

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Encoded(EncodedImage):
    """Features of several levels (DeepStack) lie side by side; ``kind`` and ``stacked`` are the form they came in."""

    kind: type[Any]
    stacked: bool


def encode_images(base: PreTrainedModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """Each image, those of one shape together."""
    groups: dict[Shapes, list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(_shapes(image), []).append(number)
    found: dict[int, EncodedImage] = {}
    for numbers in groups.values():
        found |= zip(numbers, _encode(base, [images[number] for number in numbers]), strict=True)
    return [found[number] for number in range(len(images))]


def model_inputs(base: PreTrainedModel, family: Family, images: Sequence[EncodedImage]) -> Mapping[str, Any]:
    """What the model's forward takes in the place of pixels."""
    if not images:
        return {}
    width = base.get_input_embeddings().embedding_dim
    first, *deeper = torch.split(torch.cat([image.features for image in images]), width, dim=-1)
    [(kind, stacked)] = {(image.kind, image.stacked) for image in images if isinstance(image, _Encoded)}
    output = kind(pooler_output=first[None] if stacked else [first])
    if deeper:
        output.deepstack_features = [[features] for features in deeper]
    grids = {family.grid: torch.cat([image.inputs[family.grid] for image in images])} if family.grid else {}
    return {"mm_encoder_outputs": {"image": output}, **grids}


def _shapes(image: ImageInputs) -> Shapes:
    return tuple((name, tuple(values.shape)) for name, values in sorted(image.items()))


def _encode(base: PreTrainedModel, images: Sequence[ImageInputs]) -> list[_Encoded]:
    joined = {name: torch.cat([image[name] for image in images]) for name in images[0]}
    typed = {name: values.to(base.dtype) if values.is_floating_point() else values for name, values in joined.items()}
    output = base.model.get_image_features(**typed, return_dict=True)
    levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
    features = zip(*(_split(level, len(images)) for level in levels), strict=True)
    stacked = isinstance(output.pooler_output, Tensor)
    return [
        _Encoded(torch.cat(each, dim=-1), inputs, type(output), stacked)
        for inputs, each in zip(images, features, strict=True)
    ]


def _split(features: Tensor | Sequence[Tensor], number: int) -> list[Tensor]:
    """``(image_tokens, width)`` of each image; tiles of one image follow one another."""
    if isinstance(features, Tensor):
        return list(features.reshape(number, -1, features.shape[-1]))
    return [each.reshape(-1, each.shape[-1]) for each in features]
