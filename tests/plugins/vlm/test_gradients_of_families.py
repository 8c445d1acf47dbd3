"""Gradients of every family of `chat_vlm`, for each way of scoring; test_recurrent_families.py has the others'."""

from __future__ import annotations

from pathlib import Path

import pytest
from mdpo_vlm.families import FAMILIES
from support.builders.small_vlms import build_vlm, one_family_of_each_mechanism
from support.oracles.plain_gradients import require_gradients_of_plain_forwards

from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN

WITHOUT_STATES = [
    parameter
    for parameter in one_family_of_each_mechanism(pytest.mark.long)
    if FAMILIES[str(parameter.values[0])].recurrent is None
]


@pytest.mark.parametrize("options", [PLAIN, Scoring(max_logits=700)], ids=["plain", "as in a run"])
@pytest.mark.parametrize("family", WITHOUT_STATES)
def test_gradients_equal_those_of_one_plain_forward_for_each_view(
    options: Scoring, family: str, tmp_path: Path, photographs: Path
) -> None:
    require_gradients_of_plain_forwards(family, build_vlm(family, tmp_path), photographs, options)
