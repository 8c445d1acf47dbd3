"""`mdpo eval`: the trained model beside the model before training."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from mdpo_benchmarks.pope import Pope
from support.paths import LLAVA_MDPO

from mdpo_core import RecipeError, component, load_recipe, run
from mdpo_core.benchmarking.comparing import _intervals, evaluate_run
from mdpo_core.cli import main


@pytest.fixture(scope="module")
def measured(changes: list[str], photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose recipe asks POPE."""
    folder = tmp_path_factory.mktemp("measured")
    pictures = sorted(file.name for file in photographs.iterdir())
    questions = [
        {"question_id": number, "image": pictures[number % 8], "text": f"Is there a cat {number}?", "label": label}
        for number, label in enumerate(["yes", "no"] * 4)
    ]
    (folder / "questions.json").write_text(json.dumps(questions))
    pope = {"benchmark": "pope", "questions": str(folder / "questions.json")}
    asked = {"evaluator": "benchmark", "of": pope, "images": str(photographs), "max_new_tokens": 4}
    kept = [change for change in changes if not change.startswith("evaluators")]
    words = [*kept, "train.epochs=1", f"evaluators={json.dumps([asked])}", f"output.dir={folder / 'run'}"]
    return run(load_recipe(LLAVA_MDPO, words)).run_dir


def responses(file: Path) -> list[str]:
    return [json.loads(line)["response"] for line in file.read_text().splitlines()]


def test_both_models_are_those_that_answer_alone(measured: Path, photographs: Path, tmp_path: Path) -> None:
    assert main(["eval", str(measured)]) == 0
    last = [json.loads(line) for line in (measured / "metrics.jsonl").read_text().splitlines()][-1]
    after = json.loads((measured / "eval" / "pope-after.json").read_text())["metrics"]
    assert last["eval/benchmark/pope/accuracy"] == after["accuracy"]
    assert responses(measured / "eval" / "pope-before.jsonl") == responses(measured / "benchmarks/pope/step-0.jsonl")
    assert responses(measured / "eval" / "pope-after.jsonl") == responses(measured / "benchmarks/pope/step-3.jsonl")
    assert (measured / "eval" / "table.md").read_text().count("| pope |") == 5


def test_a_recipe_without_benchmarks_is_refused(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"evaluators: []\noutput: {{dir: {measured}}}\n")
    assert main(["eval", str(recipe)]) == 2
    assert "the recipe asks no benchmark" in capsys.readouterr().err


def test_the_interval_is_that_of_accuracies_drawn_anew() -> None:
    """The bootstrap of a difference of means has about the standard error of the paired differences."""
    rng = random.Random(1)
    before, after = ([{"said": rng.choice(["yes", "no"]), "label": "yes"} for _ in range(400)] for _ in range(2))
    low, high = _intervals(Pope(), before, after)["accuracy"]
    pairs = zip(before, after, strict=True)
    differences = [(second["said"] == "yes") - (first["said"] == "yes") for first, second in pairs]
    mean = sum(differences) / 400
    error = (sum((each - mean) ** 2 for each in differences) / 400 / 400) ** 0.5
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)
    assert low < mean < high


def test_two_benchmarks_of_one_name_need_labels(measured: Path, photographs: Path, tmp_path: Path) -> None:
    [first] = load_recipe(measured / "recipe.yaml").evaluators
    same = {"of": first.of, "images": photographs, "max_new_tokens": 4}  # type: ignore[attr-defined]
    second = component("evaluator", "benchmark", label="pope_again", **same)
    with pytest.raises(RecipeError, match="two evaluators are called 'pope': give each a label"):
        list(evaluate_run(measured, [first, first], tmp_path, 4))
    assert len(list(evaluate_run(measured, [first, second], tmp_path, 4))) == 2
    assert responses(tmp_path / "pope-after.jsonl") == responses(tmp_path / "pope_again-after.jsonl")
