"""Every family of `chat_vlm` with compiled layers, on small real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm.families import FAMILIES
from support.builders.small_vlms import build_vlm, one_family_of_each_mechanism
from support.oracles.plain_vlms import VIEWS, adapter, examples
from torch._dynamo.utils import counters

from mdpo_core import Batch, Placement
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.compilation import compile_layers
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing.adapters.parity import Measured, measure, require_parity

LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}


def measured(made: Any, batch: Batch, scoring: Scoring) -> Measured:
    torch.manual_seed(0)
    model = made.load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:  # zeros, which would hide the adapter
                value.normal_(std=0.05)
    if scoring.compile:
        compile_layers(model.layers(), "eager")
    return measure(Scorer(model, TermInputs(VIEWS), AdapterOff(), scoring), batch)


# A family that cannot share a prompt is only refused, which takes no time.
@pytest.mark.parametrize("family", one_family_of_each_mechanism(pytest.mark.long))
def test_compiled_layers_give_the_same_numbers_or_are_refused(family: str, photographs: Path, tmp_path: Path) -> None:
    made = adapter(family, build_vlm(family, tmp_path), lora=LORA)
    if not made.shares_prefix:
        assert made.refuses_compiling == "this model cannot share a prompt among its responses"
        return
    if FAMILIES[family].recurrent is not None:
        assert made.refuses_compiling == (
            "layers with a recurrent state or a sliding window are not compiled, as nobody has tried"
        )
        return
    if FAMILIES[family].projects_itself:
        assert "layers that differ in how they attend (those of Llama 4)" in made.refuses_compiling
        return
    assert not made.refuses_compiling
    data = examples(family, photographs)
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    torch.compiler.reset()
    counters.clear()
    found = measured(made, batch, Scoring(compile=True))
    assert counters["stats"]["unique_graphs"] == 2
    require_parity(family, found, measured(made, batch, PLAIN), 1e-4, 1e-3)
