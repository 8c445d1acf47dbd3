"""Turn images into features (vision encoder and projector), and features into inputs of the language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, ImageInputs, on_cpu
from mdpo_vlm.families import Family
from mdpo_vlm.forward.grids import read_grids
from mdpo_vlm.forward.videos import as_image, grid_on_cpu, is_video
from mdpo_vlm.forward.ways_in.cross_attention import cross_inputs, encode_pictures
from mdpo_vlm.forward.ways_in.own_embedding import embedded_inputs, encode_tiles
from mdpo_vlm.forward.ways_in.own_projector import encode_and_project, feature_inputs
from mdpo_vlm.forward.ways_in.pooled_patches import joined_patches

_INDICATORS = "visual_indicator_features"


@dataclass(frozen=True)
class _VlmImage(EncodedImage):
    """The features of one image, and the form in which the model gave them.

    DeepStack gives features of several levels; ``features (image_tokens, levels * width)`` has them side by side.
    ``output_type``: the class of the encoder's output. ``is_tensor``: the output had one tensor for all images, not a
    list. ``indicators``: features of the tokens around images, the same for all images; Ovis2 alone has some.
    """

    output_type: type[Any]
    is_tensor: bool
    indicators: Tensor


def encode_images(base: PreTrainedModel, family: Family, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """Encode all images and videos in one call: processes that split weights must all make the same number of calls."""
    if family.cross_attention:
        return encode_pictures(base, images)
    if family.projects_itself:
        return encode_and_project(base, images)
    if family.embeds_images:
        return encode_tiles(base, images)
    named = [as_image(image, family) for image in images]
    joined = joined_patches(named, family) if family.pooling else _all_joined(named, family)
    typed = {name: values.to(base.dtype) if values.is_floating_point() else values for name, values in joined.items()}

    if family.tiles:
        typed[family.tiles] = torch.cat([on_cpu(image, family.tiles) for image in images])
    elif family.grid:
        grids = torch.cat([grid_on_cpu(image, family) for image in images])
        device = typed[family.grid].device
        typed |= {family.grid: grids, **read_grids(base.get_encoder("image"), grids, device)}

    def compute(_: object) -> tuple[Tensor, list[int], type[Any], bool]:
        output = base.model.get_image_features(**typed, return_dict=True)
        levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
        by_level = [_split_by_image(level, named, family) for level in levels]
        features = torch.cat([torch.cat(level) for level in by_level], dim=-1)
        indicators = getattr(output, _INDICATORS, features[:0])
        features = torch.cat([features, indicators.to(features)])
        in_one = isinstance(levels[0], Tensor) and not family.tiles
        return features, [len(image) for image in by_level[0]], type(output), in_one

    # Compute inside a call of the model, which has weights outside its modules (``image_newline``). The call returns
    # one tensor for all images: backends that split weights wait for each tensor that a call returns.
    features, lengths, output_type, is_tensor = base.model(compute=compute)
    *by_image, indicators = torch.split(features, [*lengths, len(features) - sum(lengths)])
    return [
        _VlmImage(part, inputs, output_type, is_tensor, indicators)
        for part, inputs in zip(by_image, images, strict=True)
    ]


def model_inputs(
    base: PreTrainedModel, family: Family, token_ids: Tensor, images: Sequence[EncodedImage]
) -> Mapping[str, Any]:
    """The arguments for the model's forward that replace its pixels."""
    if family.cross_attention:
        return cross_inputs(base, token_ids, images)
    if not images:
        return {}
    if family.embeds_images:
        return embedded_inputs(images)
    if family.projects_itself:
        return feature_inputs(images)
    embedding = base.get_input_embeddings()
    width = getattr(embedding, "base_layer", embedding).embedding_dim  # ``base_layer``: the embedding inside LoRA
    first, *deeper = torch.split(torch.cat([image.features for image in images]), width, dim=-1)
    [(output_type, is_tensor)] = {(each.output_type, each.is_tensor) for each in images if isinstance(each, _VlmImage)}
    output = output_type(pooler_output=first[None] if is_tensor else [first])
    indicators = images[0].indicators if isinstance(images[0], _VlmImage) else first[:0]
    if len(indicators):
        setattr(output, _INDICATORS, indicators)
    if deeper:
        output.deepstack_features = [[features] for features in deeper]
    inputs = {"mm_encoder_outputs": {"image": output}}
    # With videos, whoever calls gives the positions.
    if not family.grid or any(is_video(image.inputs) for image in images):
        return inputs
    return {**inputs, family.grid: torch.cat([image.inputs[family.grid] for image in images])}


def _all_joined(images: Sequence[ImageInputs], family: Family) -> dict[str, Tensor]:
    return {name: _joined(name, [image[name] for image in images], family) for name in images[0]}


def _joined(name: str, tensors: Sequence[Tensor], family: Family) -> Tensor:
    side_by_side = family.tiles and name == "pixel_values"
    return torch.cat(list(tensors), dim=-1) if side_by_side else _padded_and_joined(tensors)


def _padded_and_joined(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor of all rows. Missing tiles and pixels are zeros, which models recognize as padding."""
    largest = torch.tensor([tensor.shape for tensor in tensors]).amax(dim=0).tolist()
    return torch.cat([_padded(tensor, (len(tensor), *largest[1:])) for tensor in tensors])


def _padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor with zeros at the end of each dimension, to make it ``shape``."""
    if tuple(shape) == tuple(tensor.shape):
        return tensor
    missing = [size - present for size, present in zip(shape, tensor.shape, strict=True)]
    # `pad` takes (before, after) for each dimension, the last dimension first.
    return F.pad(tensor, [size for after in reversed(missing) for size in (0, after)])


def _split_by_image(features: Tensor | Sequence[Tensor], images: Sequence[ImageInputs], family: Family) -> list[Tensor]:
    """The features ``(image_tokens, width)`` of each image; the tiles of one image follow one another."""
    by_image = list(features)
    if family.tiles:
        # As many patches of every tile become one feature.
        joined = features if isinstance(features, Tensor) else torch.cat(by_image)
        num_patches = [int(on_cpu(image, family.tiles).prod(-1).sum()) for image in images]
        by_image = list(torch.split(joined, [number * len(joined) // sum(num_patches) for number in num_patches]))
    elif isinstance(features, Tensor):
        by_image = list(torch.split(features, _num_tiles(images)))
    elif len(by_image) != len(images):  # the tiles of all images, which may differ in size
        tiles = iter(by_image)
        by_image = [torch.cat(list(islice(tiles, number))) for number in _num_tiles(images)]
    return [part.reshape(-1, part.shape[-1]) for part in by_image]


def _num_tiles(images: Sequence[ImageInputs]) -> list[int]:
    return [len(image["pixel_values"]) for image in images]
