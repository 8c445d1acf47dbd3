"""Checks the numbers of a training, so that a run with wrong numbers stops before it updates the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from mdpo_core.errors import MdpoError
from mdpo_core.interfaces.backend import Backend
from mdpo_core.objective.objective import Outcome
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import Scores

# For each type of arithmetic: nats by which a token's log-prob may differ if the same model computes it in a batch of
# another shape. Errors of n tokens add up to sqrt(n) times this. In bfloat16, logits between 16 and 32 are 1/8 apart,
# and the measured standard deviation was 0.09; in float16 they are 1/64 apart.
ROUNDING = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}


def indifference_tolerance(recipe: Recipe) -> float:
    """The tolerance for `require_indifference`, in nats of one token.

    Two forwards side by side give 0. A cached reference was computed in batches of other shapes, so it gets more.
    """
    return ROUNDING[recipe.backend.arithmetic if recipe.reference_kind() == "cached" else "float32"]


def draws_at_start(recipe: Recipe) -> bool:
    """Whether the first forward differs from the reference's by what it draws: noise, or dropout in trained LoRA.

    Dropout in new LoRA changes nothing before the first update, because it adds 0.
    """
    drops = any(each.lora is not None and each.lora.dropout > 0 for each in recipe.model.training.values())
    return recipe.train.neftune_noise_alpha is not None or (drops and recipe.model.beside_lora is not recipe.model)


def require_finite(outcome: Outcome, batch: Batch, step: int) -> None:
    """Raise `MdpoError`, which names the examples, if a loss or a value of a running mean is NaN or infinite.

    The weights are not yet updated then. Running means count because later losses depend on them.
    """
    finite = outcome.loss.isfinite()
    if not bool(finite.all()):
        names = ", ".join(repr(name) for name, good in zip(batch.ids, finite.tolist(), strict=True) if not good)
        terms = ", ".join(name for name in _not_finite(outcome.metrics) if name.startswith("loss/"))
        # Before the first update the learning rate cannot be the cause.
        remedy = "check the term and" if step == 1 else "lower train.learning_rate or check"
        raise MdpoError(
            f"step {step}: the loss of example {names} is not finite (in {terms or 'the sum of the terms'}); {remedy} "
            "these rows"
        )
    for name in _not_finite(outcome.running):
        remedy = "check what the term gives for it" if step == 1 else "lower train.learning_rate or check the term"
        raise MdpoError(f"step {step}: a value of the running mean '{name}' is not finite; {remedy}")


def _not_finite(values: Mapping[str, Tensor]) -> list[str]:
    return [name for name, each in values.items() if not bool(each.isfinite().all())]


def require_indifference(scores: Scores, tolerance: float) -> None:
    """Raise `MdpoError` unless policy and reference give the same finite log-probs.

    They are the same model before the first update, so every log-ratio is 0.

    ``tolerance``: nats of one token; see `ROUNDING`.
    """
    _require_finite_log_probs(scores)
    for view in scores.reference:
        difference, num_tokens = scores.log_ratio(view).detach().abs(), scores.num_tokens[view]
        if not bool((difference <= tolerance * num_tokens.sqrt()).all()):
            worst = float((difference / num_tokens).max())
            raise MdpoError(
                f"policy and reference differ before the first update: {worst:.2g} nats a token on '{view}'; they "
                "must give the same log-probs, so check for randomness in the model and other weights in the reference"
            )


def _require_finite_log_probs(scores: Scores) -> None:
    views = [f"'{view}'" for view, log_probs in scores.policy.items() if not bool(log_probs.isfinite().all())]
    if views:
        raise MdpoError(
            f"the model's own log-probs are not finite before the first update, on {', '.join(views)}: check its "
            "weights and its precision: download the checkpoint again, or let the backend compute in float32"
        )


_DERIVATIVES = "check the derivatives of the terms, or let the backend compute in float32"
_LOWEST = (
    "without any factor, the gradients are still beyond 65504, where the numbers of float16 end: set "
    "backend.precision: bf16_autocast or fp32"
)
_FLOAT16 = (
    "the numbers of float16 end at 65504: lower the factor of the gradients (deepspeed: backend.config: {fp16: "
    "{loss_scale: ...}}, which is 1024 if it is not set), or set backend.precision: bf16"
)


def require_finite_gradient(norm: float, step: int, backend: Backend) -> bool:
    """Whether the gradient norm is finite; the engine has not updated the weights if it is not.

    Raises `MdpoError` then, unless the backend has just lowered the factor of the gradients.
    """
    if math.isfinite(norm):
        return True
    if backend.scales_gradients and norm == math.inf:
        return False
    remedy = _FLOAT16 if backend.arithmetic == "float16" else _DERIVATIVES
    remedy = _LOWEST if backend.scales_gradients else remedy
    # Before the first update the learning rate cannot be the cause.
    first = "" if step == 1 else "lower train.learning_rate; if it is not too high: "
    raise MdpoError(
        f"step {step}: the gradient norm is {norm}, though the losses are finite, so the weights were not "
        f"updated; {first}{remedy}"
    )
