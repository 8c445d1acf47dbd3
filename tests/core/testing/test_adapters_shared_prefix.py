"""The contract of shared prompts and recomputed layers: valid models pass, and each mistake is caught and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_vlm.forward.model import VlmModel
from support.builders.contract_rows import lora_adapter, rows
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from mdpo_core import EncodedImage, Packed, PaddedView
from mdpo_core.testing import check_adapter

Replace = Callable[..., Any]
PACKED, HIDDEN, GENERATE = VlmModel.packed_hidden_states, VlmModel.hidden_states, VlmModel.generate
Images = Sequence[EncodedImage]


def ignores_packed(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    nowhere = torch.zeros_like(packed.token_ids, dtype=torch.bool)
    return HIDDEN(self, PaddedView(packed.token_ids, torch.ones_like(packed.token_ids), nowhere), images)


def sees_the_row(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, replace(packed, lengths=((packed.token_ids.numel(),),), common=()), images)


def sees_siblings(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, replace(packed, lengths=tuple((sum(sizes),) for sizes in packed.lengths)), images)


def sees_the_sibling_before(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    """Where a prompt has more than two responses, the last of them see one another."""
    merged = tuple((*sizes[:2], sum(sizes[2:])) if len(sizes) > 3 else sizes for sizes in packed.lengths)
    return PACKED(self, replace(packed, lengths=merged), images)


def never_restarts(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, replace(packed, position_ids=torch.arange(packed.token_ids.numel())[None]), images)


def one_too_far(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    """Each branch begins one position late."""
    moved = packed.position_ids + (packed.branches > 0)
    return PACKED(self, replace(packed, position_ids=moved), images)


def swaps_images(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, packed, images[::-1])


def loses_the_image(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    """Shows the first image in place of every image."""
    return PACKED(self, packed, images[:1] * len(images))


def without_gradient(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    return PACKED(self, packed, images).detach()


def half_a_gradient(self: VlmModel, packed: Packed, images: Images) -> Tensor:
    hidden = PACKED(self, packed, images)
    return (hidden + hidden.detach()) / 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (ignores_packed, "nats"),
        (sees_the_row, "nats"),
        (sees_siblings, "nats"),
        (sees_the_sibling_before, "nats"),
        (never_restarts, "nats"),
        (one_too_far, "nats"),
        (swaps_images, "nats"),
        (loses_the_image, "nats"),
        (without_gradient, "gradients reach other parameters"),
        (half_a_gradient, "the gradient of .* differs"),
    ],
)
@pytest.mark.parametrize("lora", [True, pytest.param(False, marks=pytest.mark.long)])
def test_adapter_that_only_claims_to_share_prompts_is_caught(
    lora: bool, wrong: Replace, sentence: str, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VlmModel, "packed_hidden_states", wrong)
    adapter = lora_adapter(llava) if lora else Llava(path=str(llava))
    with pytest.raises(AssertionError, match=rf"with a shared prompt: .*{sentence}"):
        check_adapter(adapter, rows())


@pytest.mark.parametrize("lora", [True, False])
def test_an_adapter_that_does_not_share_prompts_is_not_asked_to(
    lora: bool, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VlmModel, "packed_hidden_states", ignores_packed)
    monkeypatch.setattr(Llava, "shares_prefix", False)
    check_adapter(lora_adapter(llava) if lora else Llava(path=str(llava)), rows())


def test_an_adapter_that_cannot_share_prompts_at_all_is_told_so(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(VlmModel, "packed_hidden_states")
    with pytest.raises(AssertionError, match="sets shares_prefix, but its model has no packed_hidden_states"):
        check_adapter(lora_adapter(llava), rows())


LAYERS, LAYER = VlmModel.layers, LlamaDecoderLayer.forward


def layers_of_vision(self: VlmModel) -> Sequence[nn.Module]:
    return [module for name, module in self.module.named_modules() if name.endswith("vision_tower.encoder.layers.0")]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda self: [], r"layers\(\) is empty"),
        (
            lambda self: [nn.ModuleList(LAYERS(self))],
            r"layer 0 of layers\(\), ModuleList, is not called in the forward",
        ),
        (layers_of_vision, "layer 0 .* has parameters that are not in the part 'language'"),
    ],
)
def test_layers_that_are_none_are_caught(
    wrong: Replace, sentence: str, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VlmModel, "layers", wrong)
    with pytest.raises(AssertionError, match=sentence):
        check_adapter(lora_adapter(llava), rows())


class ScaledLayer:
    """A layer that also depends on outside state, which is gone when the layer is recomputed."""

    scale = 1.0

    def forward(self, layer: LlamaDecoderLayer, hidden: Tensor, *args: Any, **options: Any) -> Tensor:
        return LAYER(layer, hidden * self.scale, *args, **options)

    def hidden_states(self, model: VlmModel, *inputs: Any) -> Tensor:
        self.scale = 2.0
        hidden = HIDDEN(model, *inputs)
        self.scale = 1.0
        return hidden


class DroppedInput(ScaledLayer):
    """The same, but without the state the layer cannot be computed at all."""

    def forward(self, layer: LlamaDecoderLayer, hidden: Tensor, *args: Any, **options: Any) -> Tensor:
        return LAYER(layer, hidden if self.scale == 2.0 else hidden[..., :1], *args, **options)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (ScaledLayer(), "with layers recomputed in backward: the gradient of .* differs"),
        (DroppedInput(), "layers cannot be recomputed in backward: "),
    ],
)
def test_layers_that_cannot_be_computed_twice_are_caught(
    state: ScaledLayer, sentence: str, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Llava, "shares_prefix", False)
    monkeypatch.setattr(VlmModel, "hidden_states", lambda *inputs: state.hidden_states(*inputs))
    monkeypatch.setattr(VlmModel, "generate", lambda model, *inputs: with_scale(state, model, *inputs))
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda *args, **options: state.forward(*args, **options))
    with pytest.raises(AssertionError, match=sentence):
        check_adapter(lora_adapter(llava), rows())


def with_scale(state: ScaledLayer, model: VlmModel, *inputs: Any) -> list[Tensor]:
    state.scale = 2.0
    answers = GENERATE(model, *inputs)
    state.scale = 1.0
    return answers
