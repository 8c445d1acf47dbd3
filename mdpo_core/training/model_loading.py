"""The models of a run: loaded in every process, or in the main process alone."""

from __future__ import annotations

from itertools import chain

import torch

from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.interfaces.train_options import Train
from mdpo_core.listeners import stage
from mdpo_core.processes.world import World
from mdpo_core.training.optimizers import require_fitting_optimizer
from mdpo_core.training.out_of_memory import explained_while


def load_model(
    adapter: ModelAdapter, backend: Backend, train: Train, world: World, *, trainable: bool = True
) -> VisionLanguageModel:
    """The model where the backend wants it. ``trainable=False``: a frozen reference.

    If the backend sends the weights from the main process, only that process reads them. The model of the others is on
    torch's meta device, unless they cannot know its shapes before they have read it.
    """
    if trainable:
        require_fitting_optimizer(adapter, backend, train)
    with stage(f"loading the {'model' if trainable else 'reference'}", world):
        return _loaded(adapter, backend, train, world, trainable)


def _loaded(
    adapter: ModelAdapter, backend: Backend, train: Train, world: World, trainable: bool
) -> VisionLanguageModel:
    if world.size == 1 or not backend.sends_weights or type(adapter).sketch is ModelAdapter.sketch:
        return _read(adapter, backend, train, trainable)
    model: VisionLanguageModel | None = None

    def read() -> list[tuple[object, ...]]:
        nonlocal model
        model = _read(adapter, backend, train, trainable)
        return _tensors(model)

    # An error of the main process is an error of all.
    tensors = world.computed_by_main(read)
    if model is None:
        with code_of(adapter, "sketch"):
            model = adapter.sketch(placement_of(backend).dtype, trainable=trainable)
    return model if _tensors(model) == tensors else _read(adapter, backend, train, trainable)


def _read(adapter: ModelAdapter, backend: Backend, train: Train, trainable: bool) -> VisionLanguageModel:
    placement = placement_of(backend)
    told = explained_while("the model was loaded")
    with code_of(backend, "loading"), backend.loading(train), code_of(adapter, "load"), told:
        return adapter.load(placement, trainable=trainable)


def _tensors(model: VisionLanguageModel) -> list[tuple[object, ...]]:
    """Name, shape, type of each tensor of a model, and whether it trains."""
    named: chain[tuple[str, torch.Tensor]] = chain(model.module.named_parameters(), model.module.named_buffers())
    return [(name, tuple(values.shape), values.dtype, values.requires_grad) for name, values in named]
