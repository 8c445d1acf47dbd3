"""What fits a card. The estimates are those of a formula, so that the right answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import RECIPES

from mdpo_core import Recipe, load_recipe
from mdpo_core.memory import advice
from mdpo_core.memory.advice import Fitting
from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimate

WEIGHTS, FOUR_BITS, PAIR, RECOMPUTED = 10e9, 3e9, 4e9, 1e9


class Formula:
    """An estimator of a model with known sizes."""

    def __init__(self, recipe: Recipe) -> None:
        self._pair = PAIR if recipe.scoring.activation_checkpointing == "off" else RECOMPUTED
        self._weights = WEIGHTS if getattr(recipe.model, "quantize", None) is None else FOUR_BITS

    def estimate(self, batch: Any, train: Any, num_processes: int) -> Estimate:
        peak = self._weights + self._pair * batch.pairs
        return Estimate(batch.pairs, self._weights, 0, 0, 0, 0, 0, 0, {"backward": peak})


@pytest.fixture
def fitting(monkeypatch: pytest.MonkeyPatch) -> Fitting:
    return fitting_with(monkeypatch)


def fitting_with(monkeypatch: pytest.MonkeyPatch, processes: int = 1) -> Fitting:
    monkeypatch.setattr(advice, "Estimator", Formula)

    def load(options: Sequence[str]) -> Recipe:
        return load_recipe(RECIPES / "llava_mdpo.yaml", ["train.micro_batch_size=4", *options], processes)

    return Fitting(load, lambda changed: SimpleNamespace(pairs=changed.train.micro_batch_size), processes)  # type: ignore[arg-type,return-value]


@given(card=st.integers(5, 300))
def test_the_largest_micro_batch_is_the_largest_that_fits(card: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fit = fitting_with(patch).compare(card * 1e9)
    fitting_sizes = [size for size in (1, 2, 4, 8, 16, 32) if needed_card(WEIGHTS + PAIR * size) <= card * 1e9]
    assert fit.largest == max(fitting_sizes, default=0)
    assert fit.fits == (4 in fitting_sizes)


def test_a_smaller_micro_batch_is_the_cheapest_change(fitting: Fitting) -> None:
    fit = fitting.compare(21e9)
    assert fit.change is not None
    assert fit.change.options == ("train.micro_batch_size=2",)


def test_activations_are_computed_again_if_one_pair_is_too_much(fitting: Fitting) -> None:
    fit = fitting.compare(14e9)
    assert fit.change is not None
    assert fit.change.options == ("train.micro_batch_size=2", "scoring.activation_checkpointing=full")
    assert fit.largest == 0


def test_a_card_too_small_for_everything_gets_the_least(fitting: Fitting) -> None:
    fit = fitting.compare(5e9)
    assert (fit.fits, fit.change) == (False, None)
    assert fit.least == FOUR_BITS + RECOMPUTED
    assert fit.tried == (
        "train.micro_batch_size=1",
        "scoring.activation_checkpointing=full",
        "model.quantize=nf4",
    )


def test_a_change_of_the_results_is_the_last_and_says_so(fitting: Fitting) -> None:
    fit = fitting.compare(8e9)
    assert fit.change is not None
    assert fit.change.options[-1] == "model.quantize=nf4"
    assert "other results" in fit.change.price
    assert "the result is the same" not in fit.change.price


def test_changes_are_options_that_set_takes(fitting: Fitting, tmp_path: Path) -> None:
    fit = fitting.compare(14e9)
    assert fit.change is not None
    changed = load_recipe(RECIPES / "llava_mdpo.yaml", list(fit.change.options))
    assert (changed.train.micro_batch_size, changed.scoring.activation_checkpointing) == (2, "full")


def test_the_largest_micro_batch_divides_the_batch_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitting_with(monkeypatch, processes=8).compare(1000e9).largest == 4
