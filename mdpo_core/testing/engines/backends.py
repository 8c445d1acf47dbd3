"""The contract of backends, checked on a very small scorer."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mdpo_core.interfaces.backend import Backend, TrainableScorer
from mdpo_core.interfaces.train_options import Train
from mdpo_core.testing.engines.small import (
    STEPS,
    CheckedEngine,
    batch_of,
    log_probs,
    loss_of,
    micro_batches,
    require_exact_resume,
    scorer_for,
)
from mdpo_core.testing.sentences import check_options, name_of, require
from mdpo_core.types.view import CHOSEN

_TRAIN = Train(learning_rate=0.02, weight_decay=0.1, adam_betas=(0.9, 0.98), max_grad_norm=1.0)


def check_backend(backend: Backend, *, tolerance: float = 1e-5) -> None:
    """Check that a backend trains a small scorer as plain torch does; raises `AssertionError` with what it breaks.

    Compares sums of gradients, clipping, learning rates and decay. A saved engine must continue bit for bit.
    ``tolerance``: how much log-probs may differ, relative; raise it for a precision below float32.
    """
    check_options(backend, Backend)
    scorer = scorer_for(backend, seed=0)
    _check_forward(backend, scorer)
    _check_steps(backend, scorer, tolerance)
    _check_resume(backend)
    _check_not_a_number(backend)


def _started(backend: Backend, scorer: TrainableScorer) -> CheckedEngine:
    return CheckedEngine(backend, backend, scorer, _TRAIN)


def _check_forward(backend: Backend, scorer: TrainableScorer) -> None:
    engine = _started(backend, copy.deepcopy(scorer))
    first, second = log_probs(engine), log_probs(engine)
    require(torch.equal(first, second), f"{name_of(backend)}: two forwards of the same engine differ")
    memory = engine.peak_memory()
    require(memory > 0, f"{name_of(backend)} returns {memory} for peak_memory(); it must be positive")


def _check_steps(backend: Backend, scorer: TrainableScorer, tolerance: float) -> None:
    engine = _started(backend, copy.deepcopy(scorer))
    plain = _Plain(copy.deepcopy(scorer))
    for step, (rate, size) in enumerate(STEPS):
        for batch in micro_batches(step):
            engine.backward(loss_of(engine.forward(batch), size))
            loss_of(plain.scorer.module(batch), size).backward()  # type: ignore[no-untyped-call]  # torch types it so
        norm, wanted = engine.step(rate), plain.step(rate)
        require(
            abs(norm - wanted) <= 10 * tolerance * wanted,
            f"{name_of(backend)} step {step}: gradient norm {norm}, but {wanted} in plain torch (before clipping, "
            "summed over two micro-batches)",
        )
        with torch.no_grad():
            expected = plain.scorer.module(batch_of(99, 6)).policy[CHOSEN].values.cpu()
        gap = float((log_probs(engine) - expected).abs().max())
        require(
            gap <= tolerance * float(expected.abs().max()),
            f"{name_of(backend)} step {step}: log-probs are {gap:.2g} nats from AdamW's at the learning rate {rate} "
            "(times the scorer's rate_factors)",
        )


class _Plain:
    """AdamW in a few lines, as `Train` describes it."""

    def __init__(self, scorer: TrainableScorer) -> None:
        self.scorer = scorer
        self._trained = list(scorer.trained.values())
        self._factors = [scorer.rate_factors.get(name, 1.0) for name in scorer.trained]
        groups = [
            {"params": [value], "weight_decay": _TRAIN.weight_decay if value.ndim > 1 else 0.0}
            for value in self._trained
        ]
        self._optimizer = torch.optim.AdamW(groups, betas=_TRAIN.adam_betas)

    def step(self, rate: float) -> float:
        norm = nn.utils.clip_grad_norm_(self._trained, _TRAIN.grad_norm_limit)
        for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)


def _check_resume(backend: Backend) -> None:
    require_exact_resume(backend, lambda seed: _started(backend, scorer_for(backend, seed)))


def _check_not_a_number(backend: Backend) -> None:
    engine = _started(backend, scorer_for(backend, seed=0))
    before = log_probs(engine)
    engine.backward(loss_of(engine.forward(batch_of(0, 3)), float("nan")))
    norm = engine.step(0.1)
    require(norm != norm, f"{name_of(backend)} gives the gradient norm {norm} for NaN gradients; it must be NaN")
    require(torch.equal(before, log_probs(engine)), f"{name_of(backend)} updates the weights with NaN gradients")
