"""Checks of the numbers while they are made: a run that has gone wrong stops before it does harm."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mdpo_core.errors import MdpoError
from mdpo_core.objective.objective import Outcome
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import Scores

# Nats by which one token's log-prob may differ between two computations of one model in batches of other shapes, by
# the type they compute in; errors of n tokens add up to the square root of n of them. In bfloat16, logits of 16 to 32
# are 1/8 apart, and a standard deviation of 0.09 was found; in float16 they are 1/64 apart.
ROUNDING = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}


def indifference_tolerance(recipe: Recipe) -> float:
    """Of `require_indifference`. Side by side, equal weights give 0; a cached reference saw batches of other shapes."""
    return ROUNDING[recipe.backend.arithmetic if recipe.reference_kind() == "cached" else "float32"]


def require_finite(outcome: Outcome, batch: Batch, step: int) -> None:
    """Stop, naming the examples, if a loss is NaN or infinite; nothing has been updated then.

    So it is with what running means are taken of, which later losses are made of.
    """
    finite = outcome.loss.isfinite()
    if not bool(finite.all()):
        names = ", ".join(repr(name) for name, good in zip(batch.ids, finite.tolist(), strict=True) if not good)
        terms = ", ".join(name for name in _not_finite(outcome.metrics) if name.startswith("loss/"))
        # Before the first update no learning rate is to blame.
        remedy = "a look at the term and at" if step == 1 else "a lower learning rate or a look at"
        raise MdpoError(
            f"step {step}: the loss of example {names} is not finite (in {terms or 'the sum of the terms'}); {remedy} "
            "these rows may help"
        )
    for name in _not_finite(outcome.running):
        raise MdpoError(f"step {step}: what the running mean '{name}' is taken of is not finite")


def _not_finite(values: Mapping[str, Tensor]) -> list[str]:
    return [name for name, each in values.items() if not bool(each.isfinite().all())]


def require_indifference(scores: Scores, tolerance: float) -> None:
    """Before the first update policy and reference are the same model, and a sound one: every log-ratio is 0.

    ``tolerance``: nats of one token; see `ROUNDING`.
    """
    _require_finite_log_probs(scores)
    for view in scores.reference:
        difference, num_tokens = scores.log_ratio(view).detach().abs(), scores.num_tokens[view]
        if not bool((difference <= tolerance * num_tokens.sqrt()).all()):
            worst = float((difference / num_tokens).max())
            raise MdpoError(
                f"policy and reference differ before the first update: {worst:.2g} nats a token on '{view}'; they "
                "must score alike (a model whose forward is random, or a reference of other weights?)"
            )


def _require_finite_log_probs(scores: Scores) -> None:
    views = [f"'{view}'" for view, log_probs in scores.policy.items() if not bool(log_probs.isfinite().all())]
    if views:
        raise MdpoError(
            f"the model's own log-probs are not finite before the first update, on {', '.join(views)}: its weights or "
            "its arithmetic are at fault; download the checkpoint again, or let the backend compute in float32"
        )


def require_finite_gradient(norm: float, step: int) -> None:
    """Stop if the gradient norm is NaN or infinite. For engines, before they update."""
    if not torch.tensor(norm).isfinite():
        raise MdpoError(
            f"step {step}: the gradient norm is {norm}, though the losses are finite: the derivative of a term is at "
            "fault, or the range of the arithmetic; the weights were not updated"
        )
