"""Language models inside a family: those that its row names are exact; others are tried, and computed plainly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mdpo_vlm.families import FAMILIES, UNKNOWN, family_of
from support.builders.small_vlms import NIGHTLY, SMALL, build_vlm
from support.builders.vlms.shapes import HEADS, HIDDEN, text
from support.oracles.plain_gradients import require_gradients_of_plain_forwards
from support.oracles.plain_vlms import NATS, adapter, examples, gap
from transformers import AutoConfig

from mdpo_core import RecipeError, component
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN

_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": HIDDEN}
# What a small one needs beside the usual sizes.
TRIED: dict[str, dict[str, Any]] = {
    "cohere": {},
    "cohere2": {"sliding_window": 4096},
    "gemma": {"head_dim": HIDDEN // HEADS},
    "llama": {},
    "ministral3": {"head_dim": HIDDEN // HEADS, "sliding_window": None},
    "mistral": {"sliding_window": None},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {"head_dim": HIDDEN // HEADS},
    "qwen3_moe": {**_EXPERTS, "head_dim": HIDDEN // HEADS},
}
# Sinks of attention, a short convolution, a state, a prompt that sees itself in both directions.
OTHERS: dict[str, dict[str, Any]] = {
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": HIDDEN // HEADS, "sliding_window": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "falcon_h1": {
        "mamba_d_ssm": 2 * HIDDEN,
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "head_dim": HIDDEN // HEADS,
    },
    "granitemoehybrid": {
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "shared_intermediate_size": HIDDEN,
    },
    "gemma3_text": {
        "head_dim": HIDDEN // HEADS,
        "sliding_window": 4096,
        "layer_types": ["sliding_attention", "full_attention"],
        "use_bidirectional_attention": True,
    },
}


@pytest.fixture
def with_language(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, dict[str, Any]], Path]:
    """Builds a small LLaVA around a language model."""

    def build(language: str, more: dict[str, Any]) -> Path:
        llava = SMALL["llava"]

        def config(token: Callable[[str], int]) -> dict[str, Any]:
            return {**llava.config(token), "text_config": text(language, token, **more)}

        monkeypatch.setitem(SMALL, "llava", replace(llava, config=config))
        return build_vlm("llava", tmp_path)

    return build


@pytest.mark.parametrize("language", [pytest.param(name, marks=() if name == "qwen3" else NIGHTLY) for name in TRIED])
def test_each_language_model_that_a_row_names_is_exact(
    language: str, with_language: Callable[[str, dict[str, Any]], Path], photographs: Path
) -> None:
    folder = with_language(language, TRIED[language])
    assert adapter("llava", folder).shares_prefix
    assert gap("llava", folder, examples("llava", photographs), Scoring()) <= NATS
    require_gradients_of_plain_forwards("llava", folder, photographs, Scoring(max_logits=700))


def test_rows_name_only_language_models_that_are_tried() -> None:
    for name, family in FAMILIES.items():
        assert set(family.language) <= {*TRIED, *of_small_model(name), None}


def of_small_model(family: str) -> set[str]:
    """The language model of a family's own small model, which the tests of families try, with its other name."""
    kind = SMALL[family].config(len).get("text_config", {}).get("model_type", "")
    return {kind, "kimi_k2"} if family == "kimi_k25" else {kind}


def test_the_published_name_of_kimis_language_model_is_that_of_its_row(tmp_path: Path) -> None:
    folder = build_vlm("kimi_k25", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "kimi_k2"
    (folder / "config.json").write_text(json.dumps(config))
    made = adapter("kimi_k25", folder)
    made.check()
    assert made.family() is FAMILIES["kimi_k25"]
    assert AutoConfig.from_pretrained(folder).text_config.model_type == "deepseek_v3"


@pytest.mark.parametrize(
    "language", [pytest.param(each, marks=() if each == "gpt_oss" else NIGHTLY) for each in OTHERS]
)
def test_other_language_models_are_computed_plainly(
    language: str, with_language: Callable[[str, dict[str, Any]], Path], photographs: Path
) -> None:
    folder = with_language(language, OTHERS[language])
    made = adapter("llava", folder)
    assert made.family() is UNKNOWN
    assert not made.shares_prefix
    assert gap("llava", folder, examples("llava", photographs), PLAIN) <= NATS
    require_gradients_of_plain_forwards("llava", folder, photographs, PLAIN)


@pytest.mark.parametrize("family", ["llava", "llava_next", "internvl", "mistral3", "smolvlm"])
def test_a_configuration_that_names_no_language_model_has_the_row_of_its_family(family: str) -> None:
    vision = {"vision_config": {"model_type": "pixtral"}} if family == "mistral3" else {}
    assert family_of({"model_type": family, **vision}) is FAMILIES[family]
    assert family_of({"model_type": family, "text_config": {"model_type": "gpt_oss"}, **vision}) is UNKNOWN
    assert family_of({"model_type": family, "text_config": [], **vision}) is FAMILIES[family]


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_longest_row_of_a_batch_are_refused(
    kind: str, with_language: Callable[[str, dict[str, Any]], Path]
) -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4} if kind == "longrope" else {}
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 8.0, **factors}
    folder = with_language("llama", {"max_position_embeddings": 1024, "rope_parameters": rope})
    if kind == "longrope":
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["rope_parameters"]["original_max_position_embeddings"] = 1024
        (folder / "config.json").write_text(json.dumps(config))
    component("adapter", "chat_vlm", path=str(folder), max_length=1024).check()  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"model.max_length: is 1025.*; set it to 1024 or less"):
        component("adapter", "chat_vlm", path=str(folder), max_length=1025).check()  # type: ignore[attr-defined]
