"""What stops a run: losses, log-probs and gradients that are not finite, and a reference unlike the policy."""

from __future__ import annotations

from math import inf, nan
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mdpo_deepspeed import DeepSpeed
from mdpo_local import Local

from mdpo_core import MdpoError, Scores
from mdpo_core.objective.objective import Outcome
from mdpo_core.training.number_checks import (
    indifference_tolerance,
    require_finite,
    require_finite_gradient,
    require_indifference,
)

BATCH: Any = SimpleNamespace(ids=("one", "two", "three"))
FINITE = torch.zeros(3)


def scores(difference: list[float]) -> Scores:
    """Two pairs whose chosen responses, of 4 and 9 tokens, differ so much between policy and reference."""
    policy, lengths = torch.tensor([-4.0, -9.0]), torch.tensor([4.0, 9.0])
    return Scores.from_sums(
        {"chosen": policy, "rejected": policy},
        {"chosen": policy - torch.tensor(difference), "rejected": policy},
        {"chosen": lengths, "rejected": lengths},
        {},
    )


@pytest.mark.parametrize(
    ("step", "metrics", "message"),
    [
        (1, {"loss/a": [0, nan, inf], "logps/chosen": [0, nan, 0]}, r"1: .* \(in loss/a\); check the term and"),
        (2, {"loss/a": [0, nan, 0], "loss/b": [0, 0, inf]}, r"2: .* \(in loss/a, loss/b\); lower train.learning_rate"),
        (2, {"loss/a": [0, 0, 0]}, r"2: .* \(in the sum of the terms\); lower train.learning_rate"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run(step: int, metrics: dict[str, list[float]], message: str) -> None:
    outcome = Outcome(torch.tensor([0, nan, inf]), {name: torch.tensor(row) for name, row in metrics.items()}, {})
    with pytest.raises(MdpoError, match=message) as caught:
        require_finite(outcome, BATCH, step)
    assert "example 'two', 'three' is" in str(caught.value)


def test_running_mean_of_non_finite_value_stops_the_run() -> None:
    require_finite(Outcome(FINITE, {}, {"good": FINITE}), BATCH, 3)
    with pytest.raises(MdpoError, match=r"step 3: .* 'bad'"):
        require_finite(Outcome(FINITE, {}, {"good": FINITE, "bad": torch.tensor([inf])}), BATCH, 3)


def test_allowed_difference_grows_with_the_root_of_token_count() -> None:
    """Policy and reference may differ by one token's rounding times the root of the number of tokens."""
    # 0.1 nats a token are 0.2 nats for 4 tokens and 0.3 nats for 9.
    require_indifference(scores([0.19, -0.29]), tolerance=0.1)
    with pytest.raises(MdpoError, match=r"0\.06 nats a token on 'chosen'"):
        require_indifference(scores([-0.24, 0.0]), tolerance=0.1)
    with pytest.raises(MdpoError, match=r"0\.04 nats a token on 'chosen'"):
        require_indifference(scores([0.0, 0.36]), tolerance=0.1)


def test_view_that_the_reference_does_not_score_is_not_compared() -> None:
    policy, lengths = torch.tensor([-4.0, -9.0]), torch.tensor([4.0, 9.0])
    both = {"chosen": policy, "rejected": policy}
    found = Scores.from_sums(both, {"chosen": policy}, dict.fromkeys(both, lengths), {})
    require_indifference(found, tolerance=0.0)


def test_non_finite_log_probs_are_told_from_a_difference() -> None:
    found = scores([0.0, 0.0])
    found.policy["rejected"][1] = nan  # the same tensor as the chosen one's
    with pytest.raises(MdpoError, match="not finite before the first update, on 'chosen', 'rejected'"):
        require_indifference(found, tolerance=0.1)


@pytest.mark.parametrize(("kind", "tolerance"), [("cached", 0.5), ("frozen_copy", 1e-3)])
def test_cached_reference_may_differ_by_arithmetic_rounding(kind: str, tolerance: float) -> None:
    recipe: Any = SimpleNamespace(backend=SimpleNamespace(arithmetic="bfloat16"), reference_kind=lambda: kind)
    assert indifference_tolerance(recipe) == tolerance


def test_a_gradient_that_is_not_finite_stops_the_run() -> None:
    assert require_finite_gradient(1.0, 4, Local())
    for norm in (inf, nan):
        with pytest.raises(
            MdpoError,
            match=f"step 4: the gradient norm is {norm}.*updated; lower train.learning_rate; if it .*in float32$",
        ):
            require_finite_gradient(norm, 4, Local(precision="bf16"))
    # Before the first update the learning rate cannot be the cause.
    with pytest.raises(MdpoError, match=r"step 1: the gradient norm is nan.*updated; check the derivatives"):
        require_finite_gradient(nan, 1, Local(precision="bf16"))


def test_an_overflow_of_float16_names_the_factor_to_lower() -> None:
    with pytest.raises(
        MdpoError, match=r"step 1: the gradient norm is nan.*loss_scale: \.\.\..*backend.precision: bf16$"
    ):
        require_finite_gradient(nan, 1, DeepSpeed(precision="fp16"))


def test_an_overflow_under_a_factor_that_falls_is_no_error_until_the_factor_is_gone() -> None:
    for precision in ("fp16", "fp16_autocast"):
        backend = Local.model_validate({"precision": precision})
        assert not require_finite_gradient(inf, 1, backend)
        remedy = r"without any factor, the gradients are still beyond 65504.*bf16_autocast"
        with pytest.raises(MdpoError, match=f"so the weights were not updated; {remedy}"):
            require_finite_gradient(nan, 1, backend)
        with pytest.raises(MdpoError, match=f"lower train.learning_rate; if it is not too high: {remedy}"):
            require_finite_gradient(nan, 2, backend)
    with pytest.raises(MdpoError, match=r"lower train.learning_rate; if it .*loss_scale: \.\.\."):
        require_finite_gradient(nan, 2, DeepSpeed(precision="fp16"))
