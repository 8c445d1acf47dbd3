"""Families that cannot be trained as they should be are refused by a sentence, before weights are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mdpo_vlm.families import FAMILIES, REFUSED
from support.builders.small_vlms import build_vlm
from support.paths import ROOT

from mdpo_core import DataError, component


@pytest.mark.parametrize("model_type", sorted(REFUSED))
def test_a_refused_family_is_named_with_its_reason_before_weights_are_read(model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    made = component("adapter", "chat_vlm", path=str(tmp_path))
    with pytest.raises(DataError, match=f"config.json: models of type '{model_type}' are not supported: ") as found:
        made.check()  # type: ignore[attr-defined]
    assert REFUSED[model_type] in str(found.value)


def test_convolutions_with_a_bias_are_refused_as_padding_would_enter_them(tmp_path: Path) -> None:
    folder = build_vlm("lfm3_vl", tmp_path)
    component("adapter", "chat_vlm", path=str(folder)).check()  # type: ignore[attr-defined]
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["conv_bias"] = True
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="conv_bias is true, with which padding before a prompt would change its state"):
        component("adapter", "chat_vlm", path=str(folder)).check()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [None, 0])
def test_attention_without_chunks_is_refused_where_transformers_has_none(size: int | None, tmp_path: Path) -> None:
    config = {"model_type": "llama4", "text_config": {"attention_chunk_size": size}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"attention_chunk_size is empty or 0, but transformers computes .* in chunks"):
        component("adapter", "chat_vlm", path=str(tmp_path)).check()  # type: ignore[attr-defined]


def test_the_page_of_models_lists_what_is_refused() -> None:
    lines = (ROOT / "docs" / "guides" / "models.md").read_text().splitlines()
    for model_type, reason in REFUSED.items():
        assert f"| `{model_type}` | {reason} |" in lines
    assert not set(REFUSED) & set(FAMILIES)
