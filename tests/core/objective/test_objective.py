"""DPO, the reward anchor, and mDPO as their sum, against formulas and the invariants."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mdpo_core import Anchor, Loss, Scores, View, component
from mdpo_core.objective.objective import Objective
from mdpo_core.testing import check_anchor, check_loss, scores
from mdpo_core.types.scores import ScorerOutput, TokenLogProbs

LOG_2 = math.log(2)
CROPPED = "chosen@crop"
PROPERTY = settings(deadline=None)


def dpo(**options: Any) -> Loss:
    made = component("loss", "dpo", **options)
    assert isinstance(made, Loss)
    return made


def reward(**options: Any) -> Anchor:
    made = component("anchor", "reward", **options)
    assert isinstance(made, Anchor)
    return made


def mdpo(beta: float) -> Objective:
    terms = {"dpo": dpo(beta=beta), "conditional": dpo(beta=beta, over=CROPPED), "anchor": reward(beta=beta)}
    return Objective(terms)


def log_sigmoid(value: float) -> float:
    """In plain Python, stable on both sides."""
    return -math.log1p(math.exp(-value)) if value > 0 else value - math.log1p(math.exp(value))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"over": CROPPED}, {"beta": 2.0}])
def test_dpo_keeps_the_contract_of_losses(options: dict[str, Any]) -> None:
    check_loss(dpo(**options), indifference=LOG_2)


def test_dpo_without_a_reference_keeps_the_contract_of_losses() -> None:
    check_loss(dpo(reference_free=True))


@pytest.mark.parametrize("direction", ["above", "below"])
def test_the_reward_anchor_keeps_the_contract_of_anchors(direction: Any) -> None:
    check_anchor(reward(direction=direction), direction=direction, indifference=LOG_2)
    check_anchor(reward(direction=direction, delta=-1.5, on=CROPPED), direction=direction)


@PROPERTY
@given(scores(["chosen", "rejected"]), st.floats(0.01, 2), st.floats(0, 0.4))
def test_dpo_is_the_papers_formula_for_each_pair(found: Scores, beta: float, smoothing: float) -> None:
    values = dpo(beta=beta, label_smoothing=smoothing)(found)
    for row, value in enumerate(values.tolist()):
        chosen, rejected = (
            float(found.policy[view][row]) - float(found.reference[view][row]) for view in ("chosen", "rejected")
        )
        logit = beta * (chosen - rejected)
        expected = -(1 - smoothing) * log_sigmoid(logit) - smoothing * log_sigmoid(-logit)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@PROPERTY
@given(scores(["chosen", "rejected"]), st.floats(0.01, 2))
def test_swapping_chosen_and_rejected_costs_the_margin(found: Scores, beta: float) -> None:
    there = dpo(beta=beta)(found)
    back = dpo(beta=beta, prefer="rejected", over="chosen")(found)
    torch.testing.assert_close(there - back, -beta * found.margin("chosen", "rejected"), rtol=1e-9, atol=1e-9)


@PROPERTY
@given(scores(["chosen"]), st.floats(0.01, 2), st.floats(-5, 5))
def test_an_anchor_from_above_and_one_from_below_meet_at_delta(found: Scores, beta: float, delta: float) -> None:
    above, below = (reward(beta=beta, delta=delta, direction=direction)(found) for direction in ("above", "below"))
    torch.testing.assert_close(above - below, delta - beta * found.log_ratio("chosen"), rtol=1e-9, atol=1e-9)


@PROPERTY
@given(scores(["chosen", "rejected"]))
def test_reference_free_dpo_is_dpo_with_indifferent_reference(found: Scores) -> None:
    """DPO without a reference is DPO against one that finds everything equally likely."""
    indifferent = {view: torch.zeros_like(sums) for view, sums in found.policy.items()}
    plain = dpo()(Scores.from_sums(dict(found.policy), indifferent))
    torch.testing.assert_close(dpo(reference_free=True)(found), plain)


@PROPERTY
@given(scores(["chosen", "rejected", CROPPED], indifferent=True))
def test_an_untrained_model_pays_three_log_2_for_mdpo(found: Scores) -> None:
    loss = mdpo(beta=0.1)(found).loss
    torch.testing.assert_close(loss, torch.full_like(loss, 3 * LOG_2))


@pytest.mark.parametrize(
    ("kind", "name", "option", "value"),
    [
        ("loss", "dpo", "beta", 0),
        ("loss", "dpo", "label_smoothing", 0.5),
        ("loss", "dpo", "label_smoothing", -0.1),
        ("loss", "dpo", "bta", 0.1),
        ("anchor", "reward", "beta", -1),
        ("anchor", "reward", "delta", math.inf),
        ("anchor", "reward", "direction", "up"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: str, name: str, option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        component(kind, name, **{option: value})


@PROPERTY
@given(scores(["chosen", "rejected"]), st.floats(0.01, 2))
def test_metrics_are_rewards_margins_and_wins_of_each_pair(found: Scores, beta: float) -> None:
    metrics = Objective({"dpo": dpo(beta=beta)})(found).metrics
    ratios = {view: found.policy[view] - found.reference[view] for view in ("chosen", "rejected")}
    margins = ratios["chosen"] - ratios["rejected"]
    for view, ratio in ratios.items():
        torch.testing.assert_close(metrics[f"rewards/{view}"], beta * ratio)
        torch.testing.assert_close(metrics[f"logps/{view}"], found.policy[view])
    torch.testing.assert_close(metrics["rewards/margin/dpo"], beta * margins)
    assert metrics["rewards/accuracy/dpo"].tolist() == [float(margin > 0) for margin in margins.tolist()]


def test_metrics_hold_no_gradients() -> None:
    """Metrics are kept until the end of a step; a graph kept with them would keep every activation."""
    tokens = TokenLogProbs(torch.full((2, 3), -1.0, requires_grad=True), torch.ones(2, 3, dtype=torch.bool))
    views = {View.parse(name): tokens for name in ("chosen", "rejected")}
    found = Scores.from_tokens(ScorerOutput(views, dict(views)), torch.ones(2, dtype=torch.bool), {})
    outcome = Objective({"dpo": dpo(), "anchor": reward()})(found)
    assert outcome.loss.requires_grad
    assert not [name for name, values in outcome.metrics.items() if values.requires_grad]
