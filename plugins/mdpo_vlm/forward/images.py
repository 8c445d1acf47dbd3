"""Images through a model's vision encoder and projector, and on to its language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, ImageInputs
from mdpo_vlm.families import Family


@dataclass(frozen=True)
class _Encoded(EncodedImage):
    """Features of several levels (DeepStack) lie side by side; ``kind`` and ``stacked`` are the form they came in."""

    kind: type[Any]
    stacked: bool


def encode_images(base: PreTrainedModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """All in one call, however different their sizes: processes that share a model make as many calls as the others."""
    joined = {name: _joined([image[name] for image in images]) for name in images[0]}
    typed = {name: values.to(base.dtype) if values.is_floating_point() else values for name, values in joined.items()}

    def compute(_: object) -> tuple[Tensor, list[int], type[Any], bool]:
        output = base.model.get_image_features(**typed, return_dict=True)
        levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
        features = torch.cat([torch.cat(_split(level, images)) for level in levels], dim=-1)
        lengths = [len(part) for part in _split(levels[0], images)]
        return features, lengths, type(output), isinstance(levels[0], Tensor)

    # Within a call of the model, which holds weights of its own beside its modules' (``image_newline``). One tensor
    # comes out of it, however many images there are: backends that share out weights wait for each.
    features, lengths, kind, stacked = base.model(compute=compute)
    parts = torch.split(features, lengths)
    return [_Encoded(part, inputs, kind, stacked) for part, inputs in zip(parts, images, strict=True)]


def model_inputs(base: PreTrainedModel, family: Family, images: Sequence[EncodedImage]) -> Mapping[str, Any]:
    """What the model's forward takes in the place of pixels."""
    if not images:
        return {}
    embedding = base.get_input_embeddings()
    width = getattr(embedding, "base_layer", embedding).embedding_dim  # there may be LoRA around it
    first, *deeper = torch.split(torch.cat([image.features for image in images]), width, dim=-1)
    [(kind, stacked)] = {(image.kind, image.stacked) for image in images if isinstance(image, _Encoded)}
    output = kind(pooler_output=first[None] if stacked else [first])
    if deeper:
        output.deepstack_features = [[features] for features in deeper]
    grids = {family.grid: torch.cat([image.inputs[family.grid] for image in images])} if family.grid else {}
    return {"mm_encoder_outputs": {"image": output}, **grids}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One behind the other; missing tiles and pixels are zeros, which models know for what they are."""
    sizes = torch.tensor([part.shape for part in parts]).amax(dim=0).tolist()
    margins = [[0, *(size - own for size, own in zip(sizes[1:], part.shape[1:], strict=True))] for part in parts]
    return torch.cat([_padded(part, margin) for part, margin in zip(parts, margins, strict=True)])


def _padded(part: Tensor, margin: Sequence[int]) -> Tensor:
    """With so many zeros behind each dimension."""
    return F.pad(part, [size for after in reversed(margin) for size in (0, after)]) if any(margin) else part


def _split(features: Tensor | Sequence[Tensor], images: Sequence[ImageInputs]) -> list[Tensor]:
    """``(image_tokens, width)`` of each image; tiles of one image follow one another."""
    parts = list(features)
    if isinstance(features, Tensor):
        tiles = [len(image["pixel_values"]) for image in images]
        parts = list(torch.split(features, tiles))
    return [part.reshape(-1, part.shape[-1]) for part in parts]
