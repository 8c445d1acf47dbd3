"""Find the parameters that image features do not depend on."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mdpo_vlm.families import Family
from mdpo_vlm.parts.names import image_encoder

# transformers makes no mask for attention of this name. To make one (Phi-4's), it reads values, and there are none.
_UNMASKED = "mdpo_unmasked"


def idle_parameters(base: PreTrainedModel, family: Family) -> set[str]:
    """Names of parameters that no gradient reaches: layers above the one that gives the features, and unused heads."""
    encoder = image_encoder(base)
    prefix = next(name for name, module in base.named_modules() if module is encoder)
    above: frozenset[str] = frozenset()
    vision: Any = getattr(base.config, "vision_config", None)
    layers = getattr(base.config, "vision_feature_layer", getattr(vision, "feature_layer", None))
    if family.pooling:  # it counts from the output of the first layer
        layers = [layer + (layer >= 0) for layer in base.config.adapter_config.vision_feature_layer]
    if layers is not None:
        wanted = (layers,) if isinstance(layers, int) else tuple(layers)
        config = vision.to_json_string(use_diff=False)
        above = _above_features(type(encoder), config, wanted)  # type: ignore[arg-type]  # a class is hashable
    unused = {name for name, _ in base.named_parameters() if re.search(family.idle, name)}
    return unused | {f"{prefix}.{name}" for name in above}


@lru_cache(maxsize=4)
def _above_features(kind: type[PreTrainedModel], config: str, layers: tuple[int, ...]) -> frozenset[str]:
    """Names, inside a vision encoder, of parameters above the ``layers`` that give the features (as in LLaVA).

    A copy of the encoder on the meta device finds them, so it does not matter where a backend has put the weights.
    """
    settings = kind.config_class.from_dict(json.loads(config))
    AttentionInterface.register(_UNMASKED, sdpa_attention_forward)
    settings._attn_implementation = _UNMASKED
    with torch.device("meta"):
        tower = kind(settings)
        pixels = torch.empty(1, *_shape_of_pixels(settings))
    with torch.enable_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states
        features = [states[layer].sum() for layer in layers]
    parameters = dict(tower.named_parameters())
    gradients = torch.autograd.grad(features, list(parameters.values()), allow_unused=True)
    return frozenset(name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None)


def _shape_of_pixels(settings: PreTrainedConfig) -> tuple[int, ...]:
    if settings.model_type == "molmo2_vision":  # patches in rows
        return settings.num_position_embeddings, settings.num_channels * settings.patch_size**2
    return settings.num_channels, *_size(settings.image_size)


def _size(side: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (side[0], side[1])
