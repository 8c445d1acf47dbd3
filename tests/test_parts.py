"""Parts of a model that train, each in its own way: what the recipe says, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from small_llava import build_llava
from test_llava import adapter, example, logits
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from mdpo_core import Placement, RecipeError, component
from mdpo_core.layout import pad_view
from mdpo_core.testing import check_adapter

NONE = "nothing"
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}
SMALL = {"rank": 2, "alpha": 2, "dropout": 0.0}
# Options, and what they let train: names of the plain model's parameters, of modules with adapters, as patterns.
SETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "full": ({}, r"projector|language_model|lm_head", NONE),
    "projector": ({"freeze": ["vision", "language"]}, "projector", NONE),
    "whole": (
        {"parts": {"vision": {"train": "full", "learning_rate": 1e-6}}},
        r"^(?!.*vision_tower.*(layers.1|post_l))",
        NONE,
    ),
    "lora": ({"lora": LORA}, NONE, r"language_model.*_proj"),
    "dora": ({"lora": LORA | {"dora": True}}, NONE, r"language_model.*_proj"),
    "rslora": ({"lora": LORA | {"rslora": True}}, NONE, r"language_model.*_proj"),
    "beside a projector": (
        {"lora": LORA, "parts": {"projector": {"train": "full"}}},
        "projector",
        "language_model.*_proj",
    ),
    "beside a tower": (
        {"lora": LORA, "parts": {"vision": {"train": "full"}}},
        r"^(?!.*(layers.1|post_l)).*vision_tower",
        "language_model.*_proj",
    ),
    "everywhere": (
        {"lora": LORA, "parts": {"vision": {"train": "lora", "lora": SMALL}, "projector": {"train": "lora"}}},
        NONE,
        r"vision_tower.*layers.0.*(_proj|fc)|projector.linear|language_model.*_proj",
    ),
    "vision alone": (
        {"freeze": ["projector", "language"], "parts": {"vision": {"train": "lora", "lora": SMALL | {"dora": True}}}},
        NONE,
        r"vision_tower.*layers.0.*(_proj|fc)",
    ),
    "some": (
        {"lora": LORA | {"targets": ["q_proj", "layers.0.mlp.*"]}},
        NONE,
        r"language_model.*q_proj|language_model.layers.0.mlp.*_proj",
    ),
    "more": (
        {"lora": LORA | {"targets": ["all-linear", "lm_head", "embed_tokens"]}},
        NONE,
        "language_model.*_proj|lm_head|embed_tokens",
    ),
    "saved": (
        {"lora": LORA | {"save": ["lm_head", "embed_tokens", "*norm"]}},
        "lm_head|embed_tokens|language_model.*norm",
        "language_model.*_proj",
    ),
    "convolution": (
        {
            "lora": LORA | {"rslora": True, "targets": ["v_proj"]},
            "parts": {
                "vision": {
                    "train": "lora",
                    "lora": LORA | {"rslora": True, "targets": ["patch_embedding", "fc1"], "save": ["pre_layrnorm"]},
                }
            },
        },
        "pre_layrnorm",
        "language_model.*v_proj|patch_embedding|vision_tower.*layers.0.*fc1",
    ),
}
LORA_SETS = {name: options for name, (options, _, _) in SETS.items() if "lora" in str(options)}


def plain(llava: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(llava)


def expected(name: str, llava: Path) -> set[str]:
    """The plain model's parameters that a set of options trains, or gives an adapter."""
    _, full, adapted = SETS[name]
    model = plain(llava)
    whole = {each for each, _ in model.named_parameters() if re.search(full, each)}
    return whole | {f"{each} adapter" for each, _ in model.named_modules() if re.search(f"({adapted})[^.]*$", each)}


def trained(name: str) -> str:
    """The plain model's parameter that a trained one is, or the module that it is an adapter of."""
    plain_name = name.removeprefix("base_model.model.")
    for word in (".lora_A", ".lora_B", ".lora_embedding", ".lora_magnitude_vector"):
        if word in plain_name:
            return f"{plain_name.partition(word)[0]} adapter"
    return plain_name.replace("modules_to_save.default.", "")


def loss(model: Any, rows: list[Any]) -> Tensor:
    """Depends on the features of a picture and on the tokens of two rows."""
    padded = pad_view([row.token_ids for row in rows], [row.token_ids[:0] for row in rows])
    images = model.encode_images([image for row in rows for image in row.images])
    return model.logits(model.hidden_states(padded, images)).log_softmax(-1)[..., 5].sum()  # type: ignore[no-any-return]


def after_a_step(model: Any, prompt: Any) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD([value for value in model.module.parameters() if value.requires_grad], lr=0.01)
    for _ in range(2):  # only the second reaches LoRA's A, as B is zero before
        loss(model, [prompt, prompt]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}


@pytest.mark.parametrize("name", SETS)
def test_what_the_recipe_says_trains_and_nothing_else(name: str, llava: Path, photographs: Path) -> None:
    torch.manual_seed(0)
    made = adapter(llava, **SETS[name][0])
    model, prompt = made.load(Placement()), made.encoder().encode_prompt(example(photographs))
    before = {each: value.detach().clone() for each, value in model.module.named_parameters()}
    after = after_a_step(model, prompt)
    changed = {trained(each) for each, value in after.items() if not value.equal(before[each])}
    assert changed == expected(name, llava)


@pytest.mark.parametrize("name", LORA_SETS)
def test_the_contract_of_adapters_holds_for_every_set(name: str, llava: Path, photographs: Path) -> None:
    def reload(folder: Path) -> nn.Module:
        loaded: nn.Module = PeftModel.from_pretrained(plain(llava), folder)
        return loaded

    rows = [example(photographs), example(photographs, 0)]
    check_adapter(adapter(llava, **LORA_SETS[name]), rows, reload)
