"""The contract of optimizers, checked in the engine of the local backend, on a CPU."""

from __future__ import annotations

import torch

from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.optimizer import Optimizer
from mdpo_core.interfaces.train_options import Train
from mdpo_core.registry.discovery import make_component
from mdpo_core.testing.engines.small import (
    STEPS,
    CheckedEngine,
    batch_of,
    log_probs,
    loss_of,
    require_exact_resume,
    scorer_for,
    train_steps,
)
from mdpo_core.testing.sentences import (
    calling,
    check_options,
    global_randomness,
    name_of,
    require,
    require_returned,
)
from mdpo_core.types.kept_memory import Amount, OptimizerMemory, WeightSizes

_FALLS = 20  # steps
_RATES = (1e-3, 1e-2, 1e-1)
_SIZES = WeightSizes(*[Amount(1000, 4000)] * 8)


def check_optimizer(optimizer: Optimizer) -> None:
    """Check an optimizer on a small scorer; raises `AssertionError` with what it breaks.

    Steps update every weight, lower a loss at one of three learning rates, leave the weights at the learning rate 0,
    and are equal when they are taken again. An engine that is saved and loaded continues bit for bit.
    """
    check_options(optimizer, Optimizer)
    backend = make_component("backend", "local", device="cpu")
    assert isinstance(backend, Backend)

    def start(seed: int) -> CheckedEngine:
        train = Train(optimizer=optimizer, learning_rate=0.02, weight_decay=0.1, adam_betas=(0.9, 0.98))
        return CheckedEngine(optimizer, backend, scorer_for(backend, seed, hidden=True), train)

    generators = global_randomness()
    _check_updates(optimizer, start(0))
    _check_rest(optimizer, start(0))
    require(any(_falls(start(0), rate) for rate in _RATES), f"{name_of(optimizer)}: {_FALLS} steps lower no loss")
    require_exact_resume(optimizer, start)
    require(global_randomness() == generators, f"{name_of(optimizer)} uses a global random generator")
    _check_memory(optimizer)


def _weights(engine: CheckedEngine) -> dict[str, torch.Tensor]:
    return {each.name: each.values.clone() for each in engine.engine.state() if each.name.startswith("weight:")}


def _check_updates(optimizer: Optimizer, engine: CheckedEngine) -> None:
    before = _weights(engine)
    train_steps(engine, range(len(STEPS)))
    for name, values in _weights(engine).items():
        require(bool(values.isfinite().all()), f"{name_of(optimizer)} makes numbers of {name} that are not finite")
        require(not values.equal(before[name]), f"{name_of(optimizer)} does not update {name}")


def _check_rest(optimizer: Optimizer, engine: CheckedEngine) -> None:
    before = _weights(engine)
    engine.backward(loss_of(engine.forward(batch_of(0, 5)), 1.0))
    engine.step(0.0)
    for name, values in _weights(engine).items():
        require(
            values.equal(before[name]),
            f"{name_of(optimizer)} changes {name} at the learning rate 0, with which a warm-up begins",
        )


def _falls(engine: CheckedEngine, rate: float) -> bool:
    batch, first = batch_of(99, 6), float(log_probs(engine).sum())
    for _ in range(_FALLS):
        engine.backward(loss_of(engine.forward(batch), 1.0))
        engine.step(rate)
    return float(log_probs(engine).sum()) > first


def _check_memory(optimizer: Optimizer) -> None:
    if type(optimizer).keeps is Optimizer.keeps:
        return
    with calling(optimizer, "in keeps()"):
        memory = optimizer.keeps(_SIZES)
    require_returned(optimizer, "for keeps()", memory, OptimizerMemory, "an OptimizerMemory")
    require(min(memory) >= 0, f"{name_of(optimizer)} returns {memory} for keeps(); bytes are not negative")
