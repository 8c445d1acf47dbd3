"""The table of docs/fits-my-card.md, some of whose rows are computed again."""

from __future__ import annotations

import sys

import pytest
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

PAGE = (ROOT / "docs" / "fits-my-card.md").read_text()
MODELS = ("LLaVA-1.5 7B", "Qwen2.5-VL 3B")
EIGHT = pytest.param(MODELS[1], 8, marks=pytest.mark.nightly(reason="takes minutes; the other case makes a whole row"))


@pytest.mark.long
@pytest.mark.parametrize(("model", "processes"), [(MODELS[0], 1), EIGHT])
def test_rows_are_those_of_the_estimate(model: str, processes: int) -> None:
    from make_fits import rows

    for row in rows(model, processes):
        assert row in PAGE
