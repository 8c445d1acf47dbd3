"""Mixtures of experts: adapters only where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
from mdpo_vlm.families import FAMILIES
from peft.tuners.lora import LoraLayer
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter

from mdpo_core import Placement, RecipeError

LORA = {"rank": 4, "alpha": 8, "dropout": 0.5}


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.unadaptable != r"$^"])
def test_names_that_peft_takes_for_experts_get_no_adapter(family: str, tmp_path: Path) -> None:
    parts = {"vision": {"train": "lora", "lora": LORA}, "projector": {"train": "lora", "lora": LORA}}
    model = adapter(family, build_vlm(family, tmp_path), lora=LORA, parts=parts).load(Placement())
    adapted = [name for name, module in model.module.named_modules() if isinstance(module, LoraLayer)]
    assert len(adapted) >= 8
    assert not any("expert" in name or name.endswith(("gate_proj", "up_proj", "down_proj")) for name in adapted)


def test_a_pattern_for_such_a_name_is_refused(tmp_path: Path) -> None:
    folder = build_vlm("glm4v_moe", tmp_path)
    with pytest.raises(RecipeError, match=r"'down_proj' matches model.*down_proj, whose name peft takes for that"):
        adapter("glm4v_moe", folder, lora={**LORA, "targets": ["down_proj"]}).check()
