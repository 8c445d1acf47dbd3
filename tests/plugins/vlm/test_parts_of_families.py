"""LoRA in every part, and whole parts beside LoRA, in every family of `chat_vlm`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from support.builders.small_vlms import build_vlm, one_family_of_each_mechanism
from support.oracles.plain_vlms import adapter, examples
from torch import nn
from transformers import AutoModelForMultimodalLM

from mdpo_core import RecipeError
from mdpo_core.testing import check_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}
WAYS: dict[str, Any] = {
    "LoRA everywhere": {"vision": {"train": "lora", "lora": LORA | {"rank": 2}}, "projector": {"train": "lora"}},
    "whole beside LoRA": {"vision": {"train": "full"}, "projector": {"train": "full"}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", one_family_of_each_mechanism(pytest.mark.long))
def test_the_contract_of_adapters_holds(family: str, way: str, tmp_path: Path, photographs: Path) -> None:
    folder = build_vlm(family, tmp_path)
    made = adapter(family, folder, lora=LORA, parts=WAYS[way])
    # The projector of Gemma 3 is a norm and a bare parameter, that of Ovis2 an embedding.
    if family in ("gemma3", "ovis2") and way == "LoRA everywhere":
        with pytest.raises(RecipeError, match=r"parts.projector.lora: there is no linear layer in the projector part"):
            made.check()
        return

    def reload(exported: Path) -> nn.Module:
        loaded: nn.Module = PeftModel.from_pretrained(AutoModelForMultimodalLM.from_pretrained(folder), exported)
        return loaded

    check_adapter(made, examples(family, photographs), reload)
