"""Pictures that enter by cross-attention (Llama 3.2 Vision): layers of their own read them, at every token of text.

transformers leaves these layers out for a sequence without pictures, and in a batch with others it does not. Before its
first picture, a token sees all tiles of the row alike, and in a batch those of missing pictures, too. Here each row
gets what it has alone, and every forward calls all layers: processes that split weights must call them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

from mdpo_core import EncodedImage, ImageInputs, on_cpu, to_device

_TILES = "aspect_ratio_mask"


def keep_rows_apart(base: PreTrainedModel) -> None:
    """Let each row of a batch get from the layers with cross-attention what it has alone.

    This changes the model permanently.
    """
    text = base.get_decoder()
    for number in text.cross_attention_layers:
        if number < len(text.layers):
            layer = text.layers[number]
            layer.forward = partial(_forward, layer.forward, number, _states_of_a_picture(base))


def _forward(
    forward: Callable[..., Tensor],
    number: int,
    per_picture: int,
    hidden_states: Tensor,
    *,
    cross_attention_states: Tensor | None = None,
    cross_attention_mask: Tensor | None = None,
    full_text_row_masked_out_mask: Tensor | None = None,
    past_key_values: Any = None,
    **options: Any,
) -> Tensor:
    """``cross_attention_mask``: ``(batch, 1, time, states)``, 0 or the least number; all 0 where nothing is seen.

    ``full_text_row_masked_out_mask``: ``(batch, 1, time, 1)``, 0 there.
    """
    if past_key_values is not None and past_key_values.get_seq_length(number) > 0:
        cross_attention_states = None  # the cache has them; given again, they would count twice
    options["past_key_values"] = past_key_values
    options["cross_attention_states"] = cross_attention_states
    if cross_attention_mask is None or full_text_row_masked_out_mask is None:
        return forward(hidden_states, cross_attention_mask=None, full_text_row_masked_out_mask=None, **options)
    seen = (cross_attention_mask == 0) & full_text_row_masked_out_mask.bool()
    by_picture = seen.any(dim=2, keepdim=True).view(len(seen), 1, 1, -1, per_picture).any(dim=-1)
    own = by_picture.repeat_interleave(per_picture, dim=-1)
    changed = forward(
        hidden_states,
        cross_attention_mask=cross_attention_mask.masked_fill(~own, torch.finfo(cross_attention_mask.dtype).min),
        full_text_row_masked_out_mask=full_text_row_masked_out_mask,
        **options,
    )
    return torch.where(by_picture.any(dim=-1), changed, hidden_states)


def _states_of_a_picture(base: PreTrainedModel) -> int:
    vision: Any = base.get_encoder("image")
    return int(vision.max_num_tiles * vision.num_patches)


def encode_pictures(base: PreTrainedModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """Encode all images in one call; the features of each are the states of all its tiles."""
    joined = {name: torch.cat([image[name] for image in images]) for name in images[0]}
    typed = {name: values.to(base.dtype) if values.is_floating_point() else values for name, values in joined.items()}

    def compute(_: object) -> Tensor:
        states = base.model.vision_model(**typed).last_hidden_state
        projected: Tensor = base.model.multi_modal_projector(states)
        return projected.flatten(1, -2)

    return [EncodedImage(*each) for each in zip(base.model(compute=compute), images, strict=True)]


def cross_inputs(base: PreTrainedModel, token_ids: Tensor, images: Sequence[EncodedImage]) -> Mapping[str, Tensor]:
    """The arguments for the model's forward that replace its pixels. ``images`` are those of the rows, in order."""
    places = [get_cross_attention_token_mask(row, base.config.image_token_id) for row in token_ids.tolist()]
    most = max(1, *map(len, places))
    remaining = iter(images)
    shown = [[next(remaining) for _ in row] for row in places]
    tiles = [[int(on_cpu(image.inputs, _TILES).sum()) for image in row] for row in shown]
    vision: Any = base.get_encoder("image")
    mask = torch.as_tensor(
        convert_sparse_cross_attention_mask_to_dense(places, tiles, vision.max_num_tiles, token_ids.shape[1])
    )
    mask = pad(mask, (0, 0, 0, most - mask.shape[2]))
    nothing = torch.zeros(0, base.config.get_text_config().hidden_size, dtype=base.dtype, device=token_ids.device)
    rows = [torch.cat([nothing, *(image.features for image in row)]) for row in shown]
    length = most * _states_of_a_picture(base)
    states = torch.stack([pad(row, (0, 0, 0, length - len(row))) for row in rows])
    return {"cross_attention_states": states, "cross_attention_mask": to_device(mask, token_ids.device)}
