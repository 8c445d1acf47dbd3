"""Two evaluators of a recipe never measure the same metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import RECIPES

from mdpo_core import PairLoss, RecipeError, load_recipe

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


def test_benchmarks_of_two_kinds_need_labels_too(pope: str) -> None:
    """Their answers would lie in one file."""
    text = "evaluators.1: is called 'pope', as 'scenes' in evaluators.0 is"
    scenes = "{evaluator: scenes, of: {benchmark: pope}}"
    assert text in refused(f"[{scenes}, {{{pope}}}]")
    assert len(load_recipe(RECIPE, [f"evaluators=[{scenes}, {{{pope}, label: pope_coco}}]"]).evaluators) == 2


def test_the_same_metrics_twice_are_refused() -> None:
    text = "evaluators.1: measures 'loss', as 'preference' in evaluators.0 does, and one value would be lost"
    assert text in refused("[{evaluator: preference}, {evaluator: preference, every: 5}]")


def test_a_loss_without_a_name_yet_is_no_problem() -> None:
    class Own(PairLoss):
        """Half a hinge."""

        def __call__(self, scores: Any) -> Any:
            return (0.5 - scores.margin(self.prefer, self.over)).clamp(min=0)

    load_recipe(RECIPE, {"objective.0": Own(), "evaluators": [{"evaluator": "preference"}]})
    with pytest.raises(RecipeError, match=r"measures 'loss', as 'preference' in evaluators\.0 does"):
        load_recipe(RECIPE, {"objective.0": Own(), "evaluators": [{"evaluator": "preference"}] * 2})
