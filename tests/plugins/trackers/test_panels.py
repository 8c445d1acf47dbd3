"""Which curves share a panel, and how they are smoothed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_trackers.panels import COLORS, Panel, evaluated, panels, smoothed, window

LOGGED = {
    "loss": 2.0,
    "loss/text": 0.7,
    "rewards/accuracy/text": 0.5,
    "rewards/margin/text": 0.1,
    "logps/chosen": -40.0,
    "rewards/chosen": 0.2,
    "grad_norm": 1.0,
}


def of(title: str, found: list[Panel]) -> Panel:
    [panel] = [each for each in found if each.title.startswith(title)]
    return panel


def test_log_probs_and_accuracies_and_rewards_have_panels_of_their_own() -> None:
    found = panels([{"step": step, **LOGGED} for step in (1, 2)])
    shown = {panel.title.partition(":")[0]: [each.name for each in panel.series] for panel in found}
    assert shown == {
        "loss, nats a pair": ["sum of terms", "text"],
        "accuracy": ["text"],
        "margin": ["text"],
        "reward": ["chosen"],
        "log-prob of an answer, nats": ["chosen"],
    }


def test_held_out_values_stand_beside_those_of_training_in_their_colour() -> None:
    margin = "preference/logps/margin/picture"
    measured = {"eval/preference/loss/text": 0.6, f"eval/{margin}": 30.0, "eval/words/wrong": 0.2}
    found = panels([{"step": 1, **LOGGED}, {"step": 1, **measured}])
    total, text, held_out = of("loss", found).series
    assert (total.evaluator, text.evaluator, held_out.evaluator) == ("", "", "preference")
    assert held_out.color == text.color != total.color
    assert [each.name for each in of("evaluations", found).series] == ["words/wrong"]
    assert [each.name for each in of("other", found).series] == [margin]


@pytest.mark.parametrize("name", ["logps/accuracy/picture", "picture/accuracy"])
def test_the_share_that_the_picture_makes_likelier_is_no_log_prob(name: str) -> None:
    found = panels([{"step": 1, **LOGGED}, {"step": 1, f"eval/preference/{name}": 0.9}])
    assert [each.name for each in of("evaluations", found).series] == [f"preference/{name}"]
    assert [each.name for each in of("log-prob", found).series] == ["chosen"]


def test_a_term_called_like_a_view_or_like_the_sum_has_its_own_curve() -> None:
    found = panels([{"step": 1, "loss": 2.0, "loss/sum": 0.5, "loss/rejected": 1.5, "logps/rejected": -4.0}])
    assert [each.name for each in of("loss", found).series] == ["sum of terms", "sum", "rejected"]
    assert len({each.color for each in of("loss", found).series}) == 3


def test_what_has_no_room_is_counted_and_sources_give_way_first() -> None:
    losses = {f"loss/{term}{end}": 1.0 for term in range(8) for end in ("", "/boats")}
    panel = of("loss", panels([{"step": 1, **losses}]))
    assert [each.name for each in panel.series] == [*map(str, range(8)), "0/boats", "1/boats"]
    assert panel.left_out == 6
    assert len({each.color for each in panel.series}) == len(COLORS)


def test_values_that_are_not_numbers_are_gaps() -> None:
    found = panels([{"step": step, "loss": value} for step, value in enumerate([1.0, math.nan, math.inf, 2.0])])
    np.testing.assert_equal(found[0].series[0].values, [1.0, math.nan, math.nan, 2.0])


def test_steps_of_evaluations_are_found() -> None:
    assert evaluated([{"step": 0, "eval/a/b": 1.0}, {"step": 1, "loss": 1.0}, {"step": 1, "eval/a/b": 1.0}]) == [0, 1]


NUMBERS = st.floats(-1e6, 1e6) | st.just(math.nan)


@given(st.lists(NUMBERS, min_size=1, max_size=200))
def test_a_smoothed_value_is_the_mean_of_those_around_it(values: list[float]) -> None:
    reach = window(len(values)) // 2
    found = smoothed(np.array(values))
    for place, value in enumerate(values):
        around = values[max(0, place - min(place, reach)) : place + min(place, reach) + 1]
        known = [each for each in around if not math.isnan(each)]
        expected = math.nan if math.isnan(value) else sum(known) / len(known)
        assert found[place] == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@given(st.integers(0, 5000))
def test_few_points_are_not_smoothed_and_windows_are_odd(number: int) -> None:
    assert window(number) % 2 == 1
    assert (window(number) == 1) == (number < 20)
