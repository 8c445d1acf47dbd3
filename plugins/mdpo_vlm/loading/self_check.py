"""Check a model of an unknown family: separate calls must give the same logits as one forward of transformers."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from mdpo_core import IMAGE_MARK, Example, PaddedView, PluginError, device_of
from mdpo_vlm.encoding.encoder import VlmEncoder
from mdpo_vlm.forward.model import VlmModel

# Largest distance of logits that rounding explains, relative to their norm. Wrong positions give 5 % and more.
_ROUNDING = {torch.float32: 1e-3}
_COARSE = 1e-2


def require_whole_forward(base: PreTrainedModel, model: VlmModel, encoder: VlmEncoder) -> None:
    """Compare separate calls with one forward of transformers on a picture. Raises `PluginError` if they differ."""
    kind = base.config.model_type
    if is_deepspeed_zero3_enabled():
        raise PluginError(_no_row(kind, "cannot be tested while ZeRO-3 splits its weights; use zero_stage 2"))
    picture = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)])
    question = Example("trial", f"{IMAGE_MARK}\nWhat is in the picture?", {}, (picture,))
    try:
        with torch.no_grad():
            distance = _distance(_in_separate_calls(model, encoder, question), _in_one_forward(base, encoder, question))
    except (TypeError, AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise PluginError(_no_row(kind, f"does not work in separate calls: {error}")) from error
    if not distance <= _ROUNDING.get(base.dtype, _COARSE):
        raise PluginError(
            _no_row(kind, f"gives different logits in separate calls and in one forward ({distance:.1%} apart)")
        )


def _in_separate_calls(model: VlmModel, encoder: VlmEncoder, question: Example) -> Tensor:
    device, prompt = device_of(model.module), encoder.encode_prompt(question)
    token_ids = prompt.token_ids[None].to(device)
    rows = PaddedView(token_ids, torch.ones_like(token_ids), torch.zeros_like(token_ids, dtype=torch.bool))
    inputs = [{name: values.to(device) for name, values in image.items()} for image in prompt.images]
    return model.logits(model.hidden_states(rows, model.encode_images(inputs)))


def _in_one_forward(base: PreTrainedModel, encoder: VlmEncoder, question: Example) -> Tensor:
    inputs = {name: torch.as_tensor(values).to(base.device) for name, values in encoder.process(question).items()}
    typed = {name: values.to(base.dtype) if values.is_floating_point() else values for name, values in inputs.items()}
    logits: Tensor = base(**typed, use_cache=False).logits
    return logits


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def _no_row(kind: str, problem: str) -> str:
    return f"'{kind}' has no row in mdpo's table of families, and this model {problem}; see docs/extend/add-a-model.md"
