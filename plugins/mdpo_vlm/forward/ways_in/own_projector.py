"""Pictures whose features the whole model projects by itself, between its encoder and its language model (Llama 4).

There is no model inside that gives hidden states, so the parts are called one by one; together they have all weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mdpo_core import EncodedImage, ImageInputs
from mdpo_vlm.parts.names import decoder_of

_PIXELS = "pixel_values"


def encode_and_project(base: PreTrainedModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """Encode the tiles of all images in one call, and project them in another."""
    pixels = torch.cat([image[_PIXELS] for image in images]).to(base.dtype)
    states = base.get_encoder("image")(pixels).last_hidden_state
    features = base.multi_modal_projector(states)
    by_image = torch.split(features, [len(image[_PIXELS]) for image in images])
    return [EncodedImage(part.flatten(0, 1), inputs) for part, inputs in zip(by_image, images, strict=True)]


def decode(base: PreTrainedModel, token_ids: Tensor, images: Sequence[EncodedImage], **inputs: Any) -> Any:
    """What the language model gives for tokens and images, without its head."""
    embeddings = base.get_input_embeddings()(token_ids)
    if images:
        features = torch.cat([image.features for image in images]).to(embeddings)
        embeddings = embeddings.masked_scatter((token_ids == base.config.image_token_id)[..., None], features)
    return decoder_of(base)(inputs_embeds=embeddings, use_cache=False, **inputs)


def feature_inputs(images: Sequence[EncodedImage]) -> Mapping[str, Any]:
    """The arguments for the forward of `projected`'s model that replace its pixels."""
    features = torch.cat([image.features for image in images])
    return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(last_hidden_state=features)}}


@contextmanager
def projected(base: PreTrainedModel) -> Iterator[None]:
    """Inside the block, the model's forward takes features that are projected already."""
    projector = base.multi_modal_projector
    # An attribute of the instance hides the method of its class, until it is deleted.
    before = vars(projector).get("forward")
    projector.forward = lambda features: features
    try:
        yield
    finally:
        del projector.forward
        if before is not None:
            projector.forward = before
