"""The contract of adapters: valid adapters pass, and each mistake is caught and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_vlm.encoding.encoder import VlmEncoder
from mdpo_vlm.forward.model import VlmModel
from peft import PeftModel
from support.builders.contract_rows import lora_adapter, rows
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from mdpo_core import EncodedPrompt, Example, PaddedView
from mdpo_core.testing import check_adapter

Replace = Callable[..., Any]


@pytest.mark.parametrize("lora", [True, False])
def test_a_valid_adapter_passes_and_its_export_loads(lora: bool, llava: Path) -> None:
    def reload(folder: Path) -> nn.Module:
        base = LlavaForConditionalGeneration.from_pretrained(llava if lora else folder)
        loaded: nn.Module = PeftModel.from_pretrained(base, folder) if lora else base
        return loaded

    check_adapter(lora_adapter(llava) if lora else Llava(path=str(llava)), rows(), reload)


def test_an_adapter_is_not_tried_on_text_alone(llava: Path) -> None:
    with pytest.raises(ValueError, match="at least two examples, one of them with an image"):
        check_adapter(lora_adapter(llava), rows()[2:])


ENCODE_RESPONSE, ENCODE_PROMPT = VlmEncoder.encode_response, VlmEncoder.encode_prompt
HIDDEN, ENCODE_IMAGES, LOAD = VlmModel.hidden_states, VlmModel.encode_images, Llava.load
GENERATE, EXPORT, SET_TRAINING = VlmModel.generate, VlmModel.export, VlmModel.set_training


def marks_ignored(self: VlmEncoder, example: Example) -> EncodedPrompt:
    kept = example.prompt if example.images else example.prompt.replace("<image>\n", "")
    marks = kept.count("<image>") - len(example.images)
    return ENCODE_PROMPT(self, Example(example.id, kept.replace("<image>\n", "", max(marks, 0)), {}, example.images))


def attends_to_padding(self: VlmModel, rows: PaddedView, images: Any) -> Tensor:
    hidden = HIDDEN(self, rows, images)
    return hidden + 0.01 * rows.token_ids.sum(dim=1)[:, None, None]


def mixes_rows(self: VlmModel, rows: PaddedView, images: Any) -> Tensor:
    hidden = HIDDEN(self, rows, images)
    return hidden + hidden[:1, -1:]


def parts_without_head(self: VlmModel) -> Mapping[str, tuple[str, ...]]:
    return {"language": tuple(name for name, _ in self.module.named_parameters() if "lm_head" not in name)}


def parts_twice(self: VlmModel) -> Mapping[str, tuple[str, ...]]:
    names = tuple(name for name, _ in self.module.named_parameters())
    return {"vision": names[:3], "language": names}


def trains_its_reference(self: Llava, placement: Any, *, trainable: bool = True) -> VlmModel:
    return LOAD(self, placement, trainable=True)


def random_weights(self: Llava, placement: Any, *, trainable: bool = True) -> VlmModel:
    torch.seed()
    return LOAD(self, placement, trainable=trainable)


def trains_what_nobody_uses(self: Llava, placement: Any, *, trainable: bool = True) -> VlmModel:
    model = LOAD(self, placement, trainable=trainable)
    for name in model.parts()["vision"] if trainable else ():
        model.module.get_parameter(name).requires_grad_(True)
    return model


@contextmanager
def stays_on(self: VlmModel) -> Iterator[None]:
    yield


def answers_backwards(self: VlmModel, prompts: Sequence[EncodedPrompt], limit: Any) -> list[Tensor]:
    return [ids.flip(0) for ids in GENERATE(self, prompts, limit)]


def answers_the_first(self: VlmModel, prompts: Sequence[EncodedPrompt], limit: Any) -> list[Tensor]:
    return [GENERATE(self, prompts, limit)[0]] * len(prompts)


def cut_from_its_gradient(self: VlmModel, *inputs: Any) -> Tensor:
    return HIDDEN(self, *inputs).detach()


def exports_a_pickle(self: VlmModel, folder: Path) -> None:
    EXPORT(self, folder)
    torch.save(dict(self.module.named_parameters()), folder / "weights.bin")


def exports_rounded(self: VlmModel, folder: Path) -> None:
    for parameter in self.module.parameters():
        parameter.data = parameter.data.bfloat16().float()
    EXPORT(self, folder)


@pytest.mark.parametrize(
    ("owner", "method", "wrong", "sentence"),
    [
        (VlmEncoder, "encode_response", lambda self, text: ENCODE_RESPONSE(self, text)[:-1], "ends responses with"),
        (
            VlmEncoder,
            "encode_response",
            lambda self, text: ENCODE_RESPONSE(self, text)[None],
            "token ids must be int64",
        ),
        (VlmEncoder, "decode", lambda self, ids: "", "which has other tokens"),
        (VlmEncoder, "encode_prompt", marks_ignored, "marks and 1 images; it must raise DataError"),
        (VlmModel, "hidden_size", property(lambda self: 7), "the model's hidden_size is 7, but its output has"),
        (VlmModel, "vocab_size", property(lambda self: 7), "the model's vocab_size is 7, but its output has"),
        (VlmModel, "hidden_states", attends_to_padding, "attends to padding"),
        (VlmModel, "hidden_states", mixes_rows, "padding changes the logits of row"),
        (VlmModel, "hidden_states", cut_from_its_gradient, "the policy's log-probs have no gradient"),
        (VlmModel, "parts", parts_without_head, "parameters that are in no part"),
        (VlmModel, "parts", parts_twice, "lists parameters in more than one part"),
        (
            VlmModel,
            "set_training",
            lambda self, training: SET_TRAINING(self, True),
            "outside of training differ",
        ),
        (
            VlmModel,
            "set_training",
            lambda self, training: SET_TRAINING(self, False),
            "are equal, although the adapter has dropout",
        ),
        (VlmModel, "adapter_disabled", stays_on, "with its adapter disabled, the model differs from the base"),
        (VlmModel, "generate", answers_backwards, "but the likeliest is"),
        (VlmModel, "generate", answers_the_first, "depends on the other prompts"),
        (VlmModel, "export", lambda self, folder: None, "exports no safetensors"),
        (VlmModel, "export", exports_a_pickle, "weights must be in safetensors"),
        (VlmModel, "export", exports_rounded, "changes the model when it exports it"),
        (Llava, "load", trains_its_reference, "loads a reference model with parameters that train"),
        (
            Llava,
            "load",
            trains_what_nobody_uses,
            "sets the part 'vision' to frozen, but something in it trains",
        ),
        (Llava, "load", random_weights, "loads different weights with the same seed"),
    ],
)
def test_a_broken_adapter_is_caught(
    owner: type, method: str, wrong: Replace, sentence: str, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, wrong)
    with pytest.raises(AssertionError, match=sentence):
        check_adapter(lora_adapter(llava), rows())


def test_trained_parameters_nothing_depends_on_are_caught(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdpo_vlm.loading.load.idle_parameters", lambda *_: set())
    with pytest.raises(AssertionError, match=r"18 parameters train but get no gradient, among them .*layers.1"):
        check_adapter(Llava(path=str(llava), freeze=()), rows())
