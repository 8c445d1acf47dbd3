"""Models that mdpo cannot compute at all are named by their type, with what to use instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_vlm.families import FAMILIES
from mdpo_vlm.files.known import nearest, require_known
from transformers import AutoConfig, PreTrainedConfig

from mdpo_core import DataError, component
from mdpo_core.cli.starting.new_recipe import model_summary

REMOTE = {"AutoConfig": "configuration_x.C", "AutoModelForCausalLM": "modeling_x.X"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "internvl_chat", "auto_map": REMOTE},
            "models of type 'internvl_chat' need code that their authors put beside them .auto_map., which mdpo does "
            "not run; the nearest type is 'internvl'",
        ),
        (
            {"model_type": "qwen2_vlx", "auto_map": REMOTE, "vision_config": {}},
            "mdpo does not run; the nearest type is 'qwen2_vl'",
        ),
        (
            {"model_type": "zzzz", "auto_map": REMOTE},
            "mdpo does not run; docs/guides/models.md lists the families that were tried",
        ),
        (
            {"model_type": "qwen3_vll"},
            "transformers has no models of type 'qwen3_vll'; install a newer one, or correct model_type; the "
            "nearest type is 'qwen3_vl'",
        ),
        ({"model_type": "llama"}, "models of type 'llama' take no images, or write no texts about them"),
        ({"model_type": "t5"}, "models of type 't5' take no images, or write no texts about them"),
        ({"model_type": "clip"}, "models of type 'clip' take no images, or write no texts about them"),
        ({"model_type": "gemma3n"}, "models of type 'gemma3n' are not supported: its vision encoder is one of timm"),
        ({"model_type": "qwen2_audio"}, "models of type 'qwen2_audio' take no images, or write no texts about them"),
        ({"model_type": "phi4mm", "auto_map": REMOTE}, "mdpo does not run; the nearest type is 'phi4_multimodal'"),
        ({"model_type": "bunny-qwen2"}, "the layout of the model's authors; use adapter: bunny"),
        ({"model_type": 5}, "model_type is missing"),
        ({"model_type": "x" * 5000}, f"model_type is 5000 letters long, '{'x' * 80} ...'; download the file again"),
        ({"architectures": ["X"]}, "model_type is missing, so nobody can tell which model this is"),
    ],
)
def test_a_model_that_cannot_be_used_is_told_before_its_weights(
    config: Mapping[str, object], message: str, tmp_path: Path
) -> None:
    """The folder has no weights, and this is not what the message is about."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=message):
        component("adapter", "chat_vlm", path=str(tmp_path)).check()  # type: ignore[attr-defined]


@pytest.mark.parametrize("model_type", [*sorted(FAMILIES), "vipllava", "aria", "blip-2", "step3p7"])
def test_code_beside_a_known_model_does_not_matter(model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "auto_map": REMOTE}))
    require_known(tmp_path / "config.json")


def test_a_type_that_a_plugin_has_registered_is_known(tmp_path: Path) -> None:
    class Registered(PreTrainedConfig):
        model_type = "mdpo_registered_by_a_test"

    AutoConfig.register(Registered.model_type, Registered, exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": Registered.model_type}))
    require_known(tmp_path / "config.json")


def test_new_recipe_gives_the_reason_of_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "auto_map": REMOTE}))
    with pytest.raises(DataError, match="which mdpo does not run; the nearest type is 'internvl'"):
        model_summary(str(tmp_path), ready=False)


@given(st.text(max_size=200))
def test_every_name_has_an_answer(name: str) -> None:
    assert nearest(name, FAMILIES).startswith(("the nearest type is '", "docs/guides/models.md lists"))
