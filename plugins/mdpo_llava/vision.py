"""Which weights of a vision tower its features depend on."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration


def unused_in_vision(model: LlavaForConditionalGeneration) -> set[str]:
    """Names, in the vision tower, of parameters behind the layers that features are taken from.

    No gradient reaches them. Found on a tower without numbers, so that weights may lie wherever a backend put them.
    """
    config = model.config.vision_config
    layers = model.config.vision_feature_layer
    with torch.device("meta"):
        tower = type(model.model.vision_tower)(config)
        pixels = torch.empty(1, config.num_channels, config.image_size, config.image_size)
    states = tower(pixels, output_hidden_states=True).hidden_states
    taken = [states[layer].sum() for layer in ([layers] if isinstance(layers, int) else layers)]
    parameters = dict(tower.named_parameters())
    gradients = torch.autograd.grad(taken, list(parameters.values()), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
