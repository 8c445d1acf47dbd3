"""Modules that transformers calls once for each image or tile, or never, here called once for all.

Backends that split weights gather those of a module whenever it is called, in all processes: pictures that differ in
number would leave one process waiting for another, and a weight that is read without a call is not there. The numbers
stay the same. One module more keeps a dimension that transformers would drop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel


def call_once(model: PreTrainedModel) -> None:
    """Replace the forwards of such modules in the model. This changes the model permanently."""
    for module in model.modules():
        forward = _FORWARDS.get(type(module).__name__)
        if forward is not None:
            module.forward = partial(forward, module)
        if type(module).__name__ == "Lfm2VlModel":
            module.get_image_features = partial(_tile_features, module)


def _convolve(module: Any, hidden_states: Tensor, grid_thw: Sequence[Sequence[int]], **_: Any) -> Tensor:
    """The gated convolution of LFM3-VL's vision encoder: ``(patches, width)``, by blocks that merge into one token.

    Frames are filled with zeros to one size, as a convolution fills them at their edges.
    """
    input_gate, output_gate, values = module.in_proj(hidden_states).chunk(3, dim=-1)
    merge, lengths = module.spatial_merge_size, [time * height * width for time, height, width in grid_thw]
    highest, widest = (max(grid[side] for grid in grid_thw) for side in (1, 2))
    frames = [
        _to_raster(part, grid, merge, (highest, widest))
        for part, grid in zip(torch.split(input_gate * values, lengths), grid_thw, strict=True)
    ]
    convolved = torch.split(module.spatial_conv(torch.cat(frames)), [time for time, _, _ in grid_thw])
    by_patch = [_to_blocks(part, grid, merge) for part, grid in zip(convolved, grid_thw, strict=True)]
    output: Tensor = module.out_proj(output_gate * torch.cat(by_patch))
    return output


def _to_raster(patches: Tensor, grid: Sequence[int], merge: int, size: tuple[int, int]) -> Tensor:
    """``(patches, width)`` of an image or a video, as frames ``(time, width, *size)``."""
    time, height, width = grid
    blocks = patches.view(time, height // merge, width // merge, merge, merge, -1)
    frames = blocks.permute(0, 5, 1, 3, 2, 4).reshape(time, -1, height, width)
    return pad(frames, (0, size[1] - width, 0, size[0] - height))


def _to_blocks(frames: Tensor, grid: Sequence[int], merge: int) -> Tensor:
    """What `_to_raster` was given."""
    time, height, width = grid
    blocks = frames[..., :height, :width].reshape(time, -1, height // merge, merge, width // merge, merge)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(time * height * width, -1)


def _merge(module: Any, hidden_states: Tensor, target_sizes: Tensor) -> Tensor:
    """The merger of MiniCPM-V: ``(1, patches, width)`` of all tiles, to their features ``(image_tokens, width)``.

    One tensor for all tiles: backends that split weights wait for each tensor that a call returns.
    """
    merge_h, merge_w = module.merge_kernel_size
    sizes: list[tuple[int, int]] = [(height, width) for height, width in target_sizes.tolist()]
    states = hidden_states[0]
    for mlp in module.mlp:
        parts = torch.split(states, [height * width for height, width in sizes])
        states = mlp(
            torch.cat([_windows(part, size, (merge_h, merge_w)) for part, size in zip(parts, sizes, strict=True)])
        )
        sizes = [(height // merge_h, width // merge_w) for height, width in sizes]
    return states


def _windows(patches: Tensor, size: Sequence[int], window: tuple[int, int]) -> Tensor:
    """The patches of each window side by side: ``(windows, window patches * width)``."""
    (height, width), (merge_h, merge_w) = size, window
    split = patches.view(height // merge_h, merge_h, width // merge_w, merge_w, -1)
    return split.permute(0, 2, 1, 3, 4).reshape(height // merge_h * (width // merge_w), -1)


def _add_positions(module: Any, embeddings: Tensor, *inputs: Any, **options: Any) -> Tensor:
    """The position embeddings of GLM-4V's vision encoder, which takes the weight of their table."""
    numbers = torch.arange(module.num_positions, device=embeddings.device)
    table = SimpleNamespace(weight=module.position_embedding(numbers))
    called = SimpleNamespace(position_embedding=table, interpolated_method=module.interpolated_method)
    added: Tensor = type(module).forward(called, embeddings, *inputs, **options)
    return added


def _add_resized_positions(module: Any, pixel_values: Tensor, spatial_shapes: Tensor) -> Tensor:
    """The patches of SigLIP 2's vision encoder with their positions; it takes the weight of their table."""
    numbers = torch.arange(module.num_patches, device=pixel_values.device)
    table = SimpleNamespace(weight=module.position_embedding(numbers))
    embedded: Tensor = type(module).forward(_With(module, position_embedding=table), pixel_values, spatial_shapes)
    return embedded


def _tile_features(
    model: Any, pixel_values: Tensor, spatial_shapes: Tensor, pixel_attention_mask: Tensor, **_: Any
) -> Any:
    """`get_image_features` of LFM2-VL, whose projector is called for each tile, for all tiles at once."""
    inputs = {"spatial_shapes": spatial_shapes, "pixel_attention_mask": pixel_attention_mask}
    encoded = model.vision_tower(pixel_values=pixel_values, return_dict=True, **inputs)
    projector, sizes = model.multi_modal_projector, spatial_shapes.tolist()
    tiles = [
        projector.pixel_unshuffle(states[: height * width].view(1, height, width, -1)).flatten(0, 2)
        for states, (height, width) in zip(encoded.last_hidden_state, sizes, strict=True)
    ]
    joined = torch.cat(tiles)
    joined = projector.layer_norm(joined) if projector.use_layer_norm else joined
    features = projector.linear_2(projector.act(projector.linear_1(joined)))
    encoded.pooler_output = torch.split(features, [len(tile) for tile in tiles])
    return encoded


def _keep_tokens(module: Any, *inputs: Any) -> Tensor:
    """The features of all images, ``(1, image_tokens, width)``: transformers drops the first dimension if it is 1."""
    features: Tensor = type(module).forward(module, *inputs)
    return features[None]


def _attend(module: Any, query: Tensor, *inputs: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
    """The attention of torch, which takes the weight of its output layer (SigLIP's head)."""
    nothing = query.new_zeros(module.embed_dim)
    as_it_is = SimpleNamespace(weight=nothing.new_ones(module.embed_dim).diag(), bias=nothing)
    attended, weights = type(module).forward(_With(module, out_proj=as_it_is), query, *inputs, **options)
    return module.out_proj(attended), weights


class _With:
    """A module with some of its attributes replaced."""

    def __init__(self, module: nn.Module, **replaced: Any) -> None:
        vars(self).update(replaced, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


_FORWARDS: Mapping[str, Callable[..., Any]] = {
    "Lfm3VlVisionShortConv": _convolve,
    "Glm4vMoeVisionEmbeddings": _add_positions,
    "Glm4vVisionEmbeddings": _add_positions,
    "Siglip2VisionEmbeddings": _add_resized_positions,
    "Mistral3MultiModalProjector": _keep_tokens,
    "MiniCPMV4_6Merger": _merge,
    "MiniCPMV4_7Merger": _merge,
    "MultiheadAttention": _attend,
}
