"""Published strengths against straight-line formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import DataError, Pairs, Strength, component
from mdpo_core.testing import check_strength
from mdpo_core.types.declared import OnlyDeclared

SCORES = {name: st.floats(-50, 50) for name in ("chosen_score", "rejected_score")}
GAPS = {"similarity_gap": st.floats(-20, 20)}


def strength(name: str, **options: Any) -> Strength:
    made = component("strength", name, **options)
    assert isinstance(made, Strength)
    return made


def pairs(
    columns: Mapping[str, list[float]], margins: list[float] | None = None, means: Mapping[str, float] | None = None
) -> Pairs:
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}
    measured = None if margins is None else torch.tensor(margins, dtype=torch.float64)
    return Pairs(OnlyDeclared(tensors, "column"), dict(means or {}), ("1",), measured)


def s(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


@pytest.mark.parametrize(
    ("name", "options", "columns"),
    [
        ("column", {"column": "beta"}, {"beta": st.floats(0.01, 10)}),
        ("mm_rlhf", {}, SCORES),
        ("mm_rlhf", {"w": 0.0, "k": 3.0, "beta": 0.5}, SCORES),
        ("madpo", {}, SCORES),
        ("madpo", {"most": 4.0, "least": 0.25, "tau": 2.0, "steepness": 5.0}, SCORES),
        ("beta_dpo", {}, {}),
        ("beta_dpo", {"momentum": 0.0, "alpha": 2.0}, {}),
        ("dama", {"usual_gap": 0.05}, GAPS),
        ("dama", {"usual_gap": -3.0, "least": 0.05}, GAPS),
    ],
)
def test_a_strength_keeps_the_contract(name: str, options: dict[str, Any], columns: dict[str, Any]) -> None:
    check_strength(strength(name, **options), columns=columns)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.01, 1), st.floats(0, 3), st.floats(0.01, 3))
def test_mm_rlhf_is_equation_5_within_its_bounds(
    chosen: float, rejected: float, beta: float, w: float, k: float
) -> None:
    columns = {"chosen_score": [chosen], "rejected_score": [rejected]}
    found = float(strength("mm_rlhf", beta=beta, w=w, k=k)(pairs(columns)))
    scaled = beta * (1 + w * (1 - math.exp(-k * (chosen - rejected))))
    assert found == pytest.approx(min(max(scaled, beta), (1 + w) * beta), rel=1e-9)


@given(st.floats(-15, 15), st.floats(1.1, 5), st.floats(0.1, 0.9), st.floats(0.2, 8), st.floats(0.2, 3))
def test_madpo_is_the_coefficient_of_the_authors(
    lead: float, most: float, least: float, tau: float, steepness: float
) -> None:
    made = strength("madpo", most=most, least=least, tau=tau, steepness=steepness)
    found = float(made(pairs({"chosen_score": [lead], "rejected_score": [0.0]})))
    odds = (most - 1) / (1 - least)
    c = least + (most - least) / (1 + odds * math.exp(steepness * (abs(lead) - tau)))
    assert found == pytest.approx(s(c * lead) / s(lead) if lead > -tau else 1.0, rel=1e-9)


def test_madpo_leaves_a_pair_with_the_lead_tau_as_it_is() -> None:
    tau = math.log(999)
    assert float(strength("madpo")(pairs({"chosen_score": [tau], "rejected_score": [0.0]}))) == pytest.approx(1)


@given(st.floats(-40, 40), st.floats(-40, 40), st.floats(0, 2), st.floats(0, 0.99))
def test_beta_dpo_updates_its_threshold_before_it_uses_it(
    batch: float, usual: float, alpha: float, momentum: float
) -> None:
    made = strength("beta_dpo", alpha=alpha, momentum=momentum)
    found = made(pairs({}, [1.0, 2.0], {"batch": batch, "usual": usual}))
    threshold = momentum * usual + (1 - momentum) * batch
    expected = max(0.001, 0.1 * (1 + alpha * (batch - threshold)))
    assert found.tolist() == pytest.approx([expected] * 2, rel=1e-9)


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 1), st.floats(-20, 20))
def test_dama_is_the_product_of_both_ratios(gap: float, usual_gap: float, batch: float, usual: float) -> None:
    made = strength("dama", usual_gap=usual_gap)
    found = float(made(pairs({"similarity_gap": [gap]}, [1.0], {"batch": batch, "usual": usual})))
    assert found == pytest.approx(max(0.001, 0.1 * s(gap) / s(usual_gap) * batch / s(usual)), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "measured"),
    [
        ("beta_dpo", {}, {"batch": lambda m: m, "usual": lambda m: m}),
        ("dama", {"usual_gap": 0.0}, {"batch": s, "usual": lambda m: m}),
    ],
)
def test_means_are_of_what_the_papers_name(
    name: str, options: dict[str, Any], measured: Mapping[str, Callable[[float], float]]
) -> None:
    means = strength(name, **options).means()
    assert {key: mean.decay for key, mean in means.items()} == {"batch": None, "usual": 0.9}
    for key, mean in means.items():
        assert mean.measure(pairs({}, [-2.0, 0.5])).tolist() == pytest.approx([measured[key](-2.0), measured[key](0.5)])


@pytest.mark.parametrize("name", ["mm_rlhf", "madpo"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    made = strength(name)
    with pytest.raises(DataError, match=r"example '7': must be a finite number, found chosen_score = (nan|inf)"):
        made.check_columns(Pairs.of_columns("7", {"chosen_score": value, "rejected_score": 0.0}))


def test_a_gap_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="similarity_gap = nan"):
        strength("dama", usual_gap=0.0).check_columns(Pairs.of_columns("7", {"similarity_gap": math.nan}))
