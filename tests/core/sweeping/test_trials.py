"""The trials of a search, by the real Optuna: they go on after a stop, and each one is new."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdpo_core import MdpoError, RecipeError
from mdpo_core.interfaces.train_options import Goal
from mdpo_core.sweeping.space import space_of
from mdpo_core.sweeping.trials import FILE, Asked, Trial, Trials, opened

RANGES = ("train.learning_rate=1e-6..1e-3:log", "train.epochs=1..9", "objective.0.beta=0.1,0.2,0.5")
GOAL = Goal(metric="eval/a/loss", mode="min")


def asked(*assignments: str, goal: Goal = GOAL, **recipe: object) -> Asked:
    return Asked(space_of(assignments or RANGES), goal, {"train": {"seed": 0, "workers": 0} | recipe})


def told(trials: Trials, number: int, results: Sequence[float | None]) -> list[Trial]:
    """Make ``number`` new trials, and note the result of each one that has a result."""
    found = []
    for _ in range(number):
        trial = trials.new()
        assert trial is not None
        found.append(trial)
        trials.tell(trial, results[int(trial.name[-3:]) % len(results)])
    return found


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 13), st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=5))
def test_a_search_that_was_stopped_chooses_as_one_that_was_not(cut: int, results: list[float | None]) -> None:
    """Optuna chooses by the results after ten trials, and at random before."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        with opened(Path(one), asked()) as trials:
            whole = told(trials, 13, results)
        with opened(Path(other), asked()) as trials:
            told(trials, cut, results)
        with opened(Path(other), asked()) as trials:
            told(trials, 13 - cut, results)
            again = trials.all()
    assert [(each.name, each.chosen) for each in again] == [(each.name, each.chosen) for each in whole]
    assert [each.value for each in again] == [results[number % len(results)] for number in range(13)]
    assert all(1e-6 <= each.chosen["train.learning_rate"] <= 1e-3 for each in again)
    assert {each.chosen["objective.0.beta"] for each in again} <= {"0.1", "0.2", "0.5"}


def test_a_trial_that_was_begun_is_there_again_and_half_a_line_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, asked()) as trials:
        begun = trials.new()
        assert begun is not None
    file = tmp_path / FILE
    content = file.read_bytes()
    file.write_bytes(content + b'{"op_code":6,"tri')
    file.with_name(f"{FILE}.lock").symlink_to(file)
    with opened(tmp_path, asked()) as trials:
        assert trials.all() == [begun]
        trials.tell(begun, 0.5)
    with opened(tmp_path, asked()) as trials:
        assert [(each.name, each.value, each.has_ended) for each in trials.all()] == [("trial-000", 0.5, True)]


def test_every_point_of_a_small_space_comes_once(tmp_path: Path) -> None:
    with opened(tmp_path, asked("train.epochs=1..3", "train.seed=0,1")) as trials:
        told(trials, 6, [0.5, None, 0.25])
        assert trials.new() is None
        found = [tuple(each.chosen.values()) for each in trials.all()]
    assert sorted(found) == [(epochs, seed) for epochs in (1, 2, 3) for seed in ("0", "1")]


def test_another_search_is_refused_with_what_differs(tmp_path: Path) -> None:
    with opened(tmp_path, asked()):
        pass
    others = {
        "options.train.epochs: 'a whole number from 1 to 9' there, 'a whole number from 1 to 8' here": asked(
            RANGES[0], "train.epochs=1..8", RANGES[2]
        ),
        "options.objective.0.beta: 'one of 0.1, 0.2, 0.5' there, 'absent' here": asked(*RANGES[:2]),
        "goal.metric: 'eval/a/loss' there, 'eval/b/loss' here": asked(goal=Goal(metric="eval/b/loss", mode="min")),
        "goal.better: 'less' there, 'more' here": asked(goal=Goal(metric="eval/a/loss", mode="max")),
        "recipe.train.seed: 0 there, 1 here": asked(seed=1),
    }
    for difference, other in others.items():
        with pytest.raises(RecipeError) as error, opened(tmp_path, other):
            pass
        said = str(error.value).splitlines()
        assert said == [
            f"{tmp_path} holds another search; choose another directory with out=DIR",
            f"  {difference}",
        ]
    with opened(tmp_path, asked(workers=2)):  # this does not change what is computed
        pass


def test_one_search_at_a_time_works_in_a_directory(tmp_path: Path) -> None:
    with (
        opened(tmp_path, asked()),
        pytest.raises(RecipeError, match=r"a search goes on in .*; wait until it ends, or choose another directory"),
        opened(tmp_path, asked()),
    ):
        pass


@pytest.mark.parametrize("content", [b"no JSON\nat all\n", b"{}\n", b"[1]\n"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with (
        pytest.raises(MdpoError, match=rf"{FILE} is damaged .*restore it, or choose another"),
        opened(tmp_path, asked()),
    ):
        pass


def test_optuna_that_is_not_installed_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with (
        pytest.raises(RecipeError, match=r"needs optuna, which is not installed: pip install 'mdpo\[optuna\]'"),
        opened(tmp_path / "out", asked()),
    ):
        pass
    assert not (tmp_path / "out").exists()
