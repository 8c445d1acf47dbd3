"""Small real models of every family that `chat_vlm` names, as a user finds them: random weights, real processors."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForMultimodalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from support.builders.small_llava import TEXT
from support.builders.vlms import cross, experts, glm, google, idefics, llava, more, pooled, qwen, recurrent, tensors
from support.builders.vlms.llava import NAMELESS
from support.builders.vlms.shapes import Small

SMALL: dict[str, Small] = {
    **llava.MODELS,
    **qwen.MODELS,
    **idefics.MODELS,
    **google.MODELS,
    **recurrent.MODELS,
    **glm.MODELS,
    **more.MODELS,
    **experts.MODELS,
    **cross.MODELS,
    **tensors.MODELS,
    **pooled.MODELS,
}

# One for each way of scoring: positions of transformers' own, M-RoPE, prompts that cannot be shared, and layers with a
# recurrent state.
MECHANISMS = ("gemma3", "llava", "qwen2_5_vl", "qwen3_5")
# These too are tried at every change, in one forward.
OFTEN = (
    *MECHANISMS,
    "idefics3",
    "internvl",
    "llava_next",
    "llava_onevision",
    "paligemma",
    "qwen2_vl",
    "qwen3_vl",
    "smolvlm",
)


NIGHTLY = pytest.mark.nightly(reason="a family of the same mechanism is tried more often")


def every_family() -> list[Any]:
    """All families as parameters, for tests that take a second; those that are not in `OFTEN` are nightly."""
    return [pytest.param(name, marks=() if name in OFTEN else NIGHTLY) for name in sorted(SMALL)]


def one_family_of_each_mechanism(*marks: pytest.MarkDecorator, others: pytest.MarkDecorator = NIGHTLY) -> list[Any]:
    """All families as parameters.

    Those of `MECHANISMS` have ``marks``, the rest of `OFTEN` the mark ``others``; all others are nightly.
    """

    def marks_of(name: str) -> Any:
        return marks if name in MECHANISMS else others if name in OFTEN else NIGHTLY

    return [pytest.param(name, marks=marks_of(name)) for name in sorted(SMALL)]


def build_vlm(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a family's small model, tokenizer and image processor into ``folder``."""
    small = {**SMALL, **NAMELESS}[family]
    tokenizer = _tokenizer(small)
    _save_processor(small, tokenizer, folder)
    config = CONFIG_MAPPING[small.model_type or family](**small.config(tokenizer.convert_tokens_to_ids))
    for part in (config, config.get_text_config()) if hasattr(config, "vocab_size") else (config.get_text_config(),):
        part.vocab_size = len(tokenizer) - len(small.beyond)
    config.get_text_config().eos_token_id = tokenizer.convert_tokens_to_ids(small.end)
    torch.manual_seed(seed)
    model = AutoModelForMultimodalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Logits of some size: with the usual tiny weights every answer is about as likely as any other. Nor may
            # a projector of zeros (Gemma 3's) hide the picture.
            if re.search(small.large, name):
                parameter.mul_(0.1)
            elif parameter.ndim >= 2:
                parameter.mul_(4) if parameter.any() else parameter.normal_(std=0.1)
            elif parameter.numel() == 1 and not parameter.any():
                parameter.fill_(0.7)  # a closed gate (mllama's) would hide the picture
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(small.end)
    model.save_pretrained(folder)
    return folder


def _tokenizer(small: Small) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<unk>", "<|im_start|>", "<|im_end|>", *small.special]
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token=small.end,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=dict(small.names),
        chat_template=small.template,
    )
    made.add_special_tokens({"additional_special_tokens": list(small.beyond)}) if small.beyond else None
    return made


def _save_processor(small: Small, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The parts: processors that take videos, too, cannot be made without torchvision."""
    tokenizer.save_pretrained(folder)
    module = next((name for name in _pil_modules() if hasattr(import_module(name), small.image_processor)), None)
    if module is None:  # of torchvision alone: its file as its authors' has it
        settings = {"image_processor_type": small.image_processor, **small.image_options}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    else:
        getattr(import_module(module), small.image_processor)(**small.image_options).save_pretrained(folder)
    kept = {"processor_class": small.processor, **small.processor_options}

    (folder / "processor_config.json").write_text(json.dumps(kept))


def _pil_modules() -> list[str]:
    root = Path(transformers.__file__).parent
    return [
        ".".join(("transformers", *file.relative_to(root).with_suffix("").parts))
        for file in sorted(root.glob("models/*/image_processing_pil_*.py"))
    ]
