"""The table of docs/fits-my-card.md, some of whose rows are computed again."""

from __future__ import annotations

import sys

import pytest
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

PAGE = (ROOT / "docs" / "fits-my-card.md").read_text()
MODELS = ("LLaVA-1.5 7B", "Qwen2.5-VL 3B")


@pytest.mark.nightly(reason="takes minutes; test_shipped_recipes.py makes figures by the same estimate")
@pytest.mark.parametrize(("model", "processes"), [(MODELS[0], 1), (MODELS[1], 8)])
def test_rows_are_those_of_the_estimate(model: str, processes: int) -> None:
    from make_fits import rows

    for row in rows(model, processes):
        assert row in PAGE
