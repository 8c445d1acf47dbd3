"""The options of a benchmark on the command line."""

from __future__ import annotations

import pytest
from mdpo_benchmarks.amber.benchmark import Amber
from mdpo_benchmarks.object_halbench.benchmark import ObjectHalBench

from mdpo_core import RecipeError
from mdpo_core.cli import main
from mdpo_core.cli.scoring.component_options import component_from


def test_words_become_options() -> None:
    made = component_from(Amber, ["--task", "g", "--threshold", "0.7", "--data", "folder"], "mdpo score amber")
    assert (made.task, made.threshold, str(made.data)) == ("g", 0.7, "folder")
    assert component_from(ObjectHalBench, ["--no-judge"], "mdpo score object_halbench").no_judge


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--taks", "g"], "mdpo score amber has no option --taks; did you mean '--task'"),
        (["g"], "mdpo score amber has no option g"),
        (["--task"], "argument --task: expected one argument"),
        (["--task", "x"], "--task: Input should be 'a', 'g'"),
        (["--threshold", "much"], "--threshold: Input should be a valid number"),
        (["--tas", "g"], "has no option --tas"),
    ],
)
def test_words_that_do_not_fit_are_a_sentence(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError) as error:
        component_from(Amber, words, "mdpo score amber")
    assert says in str(error.value)
    assert main(["score", "amber", *words]) == 2
    assert says in capsys.readouterr().err
