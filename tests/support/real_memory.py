"""The memory of a real training step: the oracle of estimates."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch

from mdpo_core import Recipe, TrainableScorer
from mdpo_core.memory.held import HeldBytes
from mdpo_core.objective.objective import Objective
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types.batch import Batch


def real_phases(recipe: Recipe, batch: Batch) -> dict[str, int]:
    """Bytes that tensors hold at most in each phase of the second step of a run, on the backend's real engine."""
    gc.collect()
    before = {id(each): each for each in _tensors()}
    engine = real_engine(recipe)
    for _ in range(2):
        gc.collect()
        held = HeldBytes()
        held.add(each for each in _tensors() if id(each) not in before)
        with held:
            with held.span() as forward:
                scored = engine.forward(batch)
                loss = torch.stack([tokens.values.sum() for tokens in scored.policy.values()]).sum()
                del scored
            with held.span() as backward:
                engine.backward(loss)
                del loss
            with held.span() as update:
                engine.step(1e-6)
    return {"forward": forward.peak, "backward": backward.peak, "update": update.peak}


def real_engine(recipe: Recipe):  # type: ignore[no-untyped-def]
    """The engine that a run of the recipe would start."""
    backend, train = recipe.backend, recipe.train
    with backend.loading(train):
        model = recipe.model.load(backend.placement())
    recompute_in_backward(model.layers(), recipe.scoring.activation_checkpointing)
    model.set_training(True)
    reference = None
    if recipe.reference_kind() == "frozen_copy":
        reference = FrozenCopy(recipe.model.load(backend.placement(), trainable=False))
    elif recipe.reference_kind() == "adapter_off":
        reference = AdapterOff()
    reads = Objective(dict(zip(recipe.labels(), recipe.objective, strict=True))).reads
    options = recipe.scoring.model_copy(update={"share_prefix": recipe.shares_prefix()})
    return backend.start(TrainableScorer(Scorer(model, reads, reference, options), model), train)


def _tensors() -> Iterator[torch.Tensor]:
    for each in gc.get_objects():
        if issubclass(type(each), torch.Tensor):
            yield each
