"""Two evaluators of a recipe never measure the same metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe

RECIPE = RECIPES / "quickstart.yaml"


def refused(evaluators: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPE, [f"evaluators={evaluators}"])
    return str(caught.value)


@pytest.fixture
def pope(photographs: Path, tmp_path: Path) -> str:
    picture = sorted(file.name for file in photographs.iterdir())[0]
    row = {"question_id": 1, "image": picture, "text": "Is there a cat?", "label": "yes"}
    (tmp_path / "pope.json").write_text(json.dumps([row]))
    of = f"{{benchmark: pope, questions: {tmp_path / 'pope.json'}}}"
    return f"evaluator: benchmark, of: {of}, images: {photographs}"


def test_benchmarks_of_one_name_need_labels(pope: str) -> None:
    text = "evaluators.1: is called 'pope', as 'benchmark' in evaluators.0 is, and one score would be lost"
    assert text in refused(f"[{{{pope}}}, {{{pope}}}]")
    assert "is called 'hard'" in refused(f"[{{{pope}, label: hard}}, {{{pope}}}, {{{pope}, label: hard}}]")
    assert len(load_recipe(RECIPE, [f"evaluators=[{{{pope}}}, {{{pope}, label: hard}}]"]).evaluators) == 2


def test_the_same_metrics_twice_are_refused() -> None:
    text = "evaluators.1: measures 'loss', as 'preference' in evaluators.0 does, and one value would be lost"
    assert text in refused("[{evaluator: preference}, {evaluator: preference, every: 5}]")
