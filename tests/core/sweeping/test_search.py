"""A search: what does not fit is refused before a run begins; its runs are real ones."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mdpo
from mdpo_core import Range, RecipeError
from mdpo_core.cli import main
from mdpo_core.sweeping.trials import FILE

LOSS, PICTURE = "eval/preference/loss", "eval/preference/logps/accuracy/picture"
RECIPE = """
model: {adapter: digits, freeze: []}
data: {reader: digits, num_pairs: 32}
validation: {reader: digits, num_pairs: 8, seed: 1, split: held_out}
objective: [{loss: dpo, beta: 0.1, label: text}]
train: {max_steps: 2, batch_size: 8, micro_batch_size: 8, learning_rate: 3.0e-4}
backend: {backend: local}
evaluators: [{evaluator: preference}]
output: {dir: unused, save_every: 1}
"""
RATES = "train.learning_rate=1e-5..1e-3:log"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    return file


def words(recipe: Path, *assignments: str, goal: str = f"--minimize {LOSS}", runs: int = 2) -> list[str]:
    sets = [word for each in assignments for word in ("--set", each)]
    return ["sweep", str(recipe), *sets, "--out", str(recipe.parent / "out"), "--search", str(runs), *goal.split()]


REFUSED: dict[str, tuple[list[str], str, str]] = {
    "an unknown option": (["train.sed=1..2"], f"--minimize {LOSS}", r"train.sed: unknown option; did you mean 'seed'"),
    "an end that does not fit": (
        ["train.weight_decay=-1.0..0.1"],
        f"--minimize {LOSS}",
        r"--set train.weight_decay=-1.0: .*greater than or equal to 0",
    ),
    "a reversed range": ([RATES, "train.epochs=3..1"], f"--minimize {LOSS}", r"--set train.epochs=3..1: a range goes"),
    "no goal": ([RATES], "", "a search needs one of --maximize METRIC or --minimize METRIC"),
    "a metric of training": ([RATES], "--minimize loss", "--minimize loss: a metric of an evaluation is called eval/"),
    "no such metric": (
        [RATES],
        "--maximize eval/preference/rewards/acuracy/text",
        "'preference' does not measure 'rewards/acuracy/text'; did you mean 'rewards/accuracy/text'",
    ),
    "no such evaluator": ([RATES], "--minimize eval/digits/wrong_digits", "no evaluator 'digits' measures"),
    "the worst loss": (
        [RATES],
        f"--maximize {LOSS}",
        f"--maximize {LOSS} takes the largest loss for the best one; use --minimize",
    ),
    "a metric that an option rescales": (
        ["objective.0.beta=0.1..1.0"],
        f"--minimize {LOSS}/text",
        "cannot be compared between the runs of this search, so it names no best one: the term text is not the same",
    ),
    "too small a space": (
        ["train.seed=0,1"],
        f"--maximize {PICTURE} --search 3",
        "there are only 2 combinations of these values, but the search has 3 runs",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_search_that_does_not_fit_is_refused_before_anything_runs(
    case: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assignments, goal, sentence = REFUSED[case]
    assert main(words(recipe, *assignments, goal=goal)) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (recipe.parent / "out").exists()


def test_a_goal_without_a_search_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(recipe.parent / "out")
    assert main(["sweep", str(recipe), "--set", "train.seed=0,1", "--out", out, "--minimize", LOSS]) == 2
    assert "--minimize is for a search: add --search N" in capsys.readouterr().err


def test_python_is_answered_in_its_words(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="a search needs one of maximize=METRIC or minimize=METRIC"):
        mdpo.search(recipe, {"train.seed": Range(0, 9)}, runs=2, out=recipe.parent / "out")
    with pytest.raises(RecipeError, match="a search has one run, or more; found 0"):
        mdpo.search(recipe, {"train.seed": Range(0, 9)}, runs=0, out=recipe.parent / "out", maximize=PICTURE)


@pytest.mark.nightly(reason="test_sweep.py stops a sweep, which starts the trials of a search, too")
def test_a_killed_search_goes_on_with_the_same_trials(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is killed in its first run, after a checkpoint."""
    out = recipe.parent / "out"
    arguments = words(recipe, RATES, "train.max_steps=3", runs=2)
    process = subprocess.Popen([sys.executable, "-m", "mdpo_core.cli", *arguments], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until and not list(out.glob("trial-000/checkpoints/*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (out / FILE).read_text()
    assert main(arguments) == 0
    said = capsys.readouterr().out.replace("\n  ", " ")
    assert "2 runs of" in said
    assert "1 goes on" in said
    assert (out / FILE).read_text().startswith(first)
    assert sorted(path.name for path in out.glob("trial-*")) == ["trial-000", "trial-001"]
    result = mdpo.search(
        recipe, [RATES, "train.max_steps=3"], runs=2, out=out, minimize=LOSS
    )  # all is there: nothing runs
    assert result.best is not None
    assert result.best.value == min(each.value for each in result.trials if each.value is not None)
    assert f"the best run is {out / result.best.name}: {LOSS} " in said
    assert (out / "comparison.md").is_file()
    assert result.best.name in (out / "search.md").read_text().splitlines()[2]
    with pytest.raises(RecipeError, match="holds another search"):
        mdpo.search(recipe, [RATES, "train.max_steps=4"], runs=2, out=out, minimize=LOSS)
    capsys.readouterr()
