"""One training step on weights without numbers: what it holds, by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.interfaces.model import Dtype, Head, VisionLanguageModel
from mdpo_core.interfaces.optimizer import hidden_matrices
from mdpo_core.memory.fakes import FakesMeetNumbers, fake_mode, fused_attention, make_fake
from mdpo_core.memory.held import HeldBytes
from mdpo_core.processes.devices import set_compute_device
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.head import logits_at_once
from mdpo_core.scoring.layers import layers_of
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy, Reference
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types.batch import Batch
from mdpo_core.types.kept_memory import Amount, WeightSizes


class Step(NamedTuple):
    """Bytes of a step beside the weights, and beside gradients that stay.

    ``activations``: kept from forward to backward. ``logits``: at most, of the head and its log-probs, in forward.
    ``forward`` and ``backward``: at most, in each phase.
    """

    activations: float
    logits: float
    forward: float
    backward: float


class Trial:
    """The training model of a recipe with ``depth`` layers and without numbers; it runs one step.

    ``weights``: the sizes of its weights, and ``reference`` of those of a frozen second model. ``buffers``: bytes of
    other tensors, which no backend splits. ``on_gpu``: it has the attention and the dropout that a GPU has, and as many
    logits at once.
    """

    def __init__(self, recipe: Recipe, depth: int, *, on_gpu: bool = True) -> None:
        self._scorer, copy = _scorer(recipe, depth, on_gpu)
        self._arithmetic = partial(_arithmetic, recipe)
        self._mode = fake_mode()
        self._modules = [self._scorer] if copy is None else [self._scorer, copy.model.module]
        self.weights = sizes_of(self._scorer.model)
        self.buffers = sum(each.nbytes for each in self._scorer.model.module.buffers())
        self.reference = None if copy is None else sizes_of(copy.model)
        for module in self._modules:
            make_fake(module, self._mode)
        model = self._scorer.model.module
        for part in model.modules():
            if part is not model:  # the model itself decides where batches go
                set_compute_device(part, torch.device("cuda" if on_gpu else "cpu"))

    def step(self, batch: Batch, *, frees_gradients: bool) -> Step:
        """What a step of ``batch`` holds. ``frees_gradients``: no gradients are there when the step begins.

        The batch keeps its numbers: code looks at token ids, and SmolVLM's at pixels, to leave out empty pictures. What
        a batch computes once is counted in every step.
        """
        held = HeldBytes()
        for module in self._modules:
            held.add((*module.parameters(), *module.buffers()))
        for value in self._scorer.parameters():
            value.grad = torch.zeros_like(value) if value.requires_grad and not frees_gradients else None
            held.add([value.grad])
        with FakesMeetNumbers(self._mode):
            return _step(self._scorer, replace(batch), held, self._arithmetic())


def sizes_of(model: VisionLanguageModel) -> WeightSizes:
    """The sizes of a model's weights, each counted once."""
    weights = list(model.module.parameters())
    layers = [list(layer.parameters()) for layer in layers_of(model)]
    inside = {id(value) for layer in layers for value in layer}
    trained = [value for value in weights if value.requires_grad]
    hidden = hidden_matrices(model.module)
    outside = [value for value in weights if id(value) not in inside]
    return WeightSizes(
        trained=_amount(trained),
        frozen=_amount([value for value in weights if not value.requires_grad]),
        layer=max(map(_amount, layers)),
        outside=_amount(outside),
        trained_outside=_amount([value for value in outside if value.requires_grad]),
        widest=max((_amount([value]) for value in trained), default=Amount()),
        matrices=_amount([value for value in trained if id(value) in hidden]),
        edges=reduce(Amount.plus, map(_edges, trained), Amount()),
    )


def _edges(value: Tensor) -> Amount:
    """A number for each row and each column of a matrix; all numbers of a vector."""
    numbers = value.numel()
    if value.ndim > 1:
        numbers = numbers // value.shape[-1] + numbers // value.shape[-2]
    return Amount(numbers, numbers * value.element_size())


def _amount(weights: Sequence[Tensor]) -> Amount:
    return Amount(
        sum(value.numel() for value in weights), sum(value.numel() * value.element_size() for value in weights)
    )


def _scorer(recipe: Recipe, depth: int, on_gpu: bool) -> tuple[Scorer, FrozenCopy | None]:
    """A scorer of a model without numbers, and the frozen copy that it scores beside it."""
    dtype, adapter = recipe.backend.computes_in, recipe.model.without_kernels
    model = adapter.sketch(dtype, depth=depth)
    _cast_trained(model, recipe.backend.trains_in)
    recompute_in_backward(model.layers(), recipe.scoring.activation_checkpointing)
    model.set_training(True)
    kind = recipe.reference_kind()
    copy = FrozenCopy(adapter.sketch(dtype, depth=depth, trainable=False)) if kind == "frozen_copy" else None
    reference: Reference | None = AdapterOff() if kind == "adapter_off" else copy
    at_once = logits_at_once(recipe.scoring.max_logits, "cuda" if on_gpu else "cpu")
    options = recipe.scoring.model_copy(update={"share_prefix": recipe.shares_prefix(), "max_logits": at_once})
    attention = fused_attention if on_gpu and options.attention == "auto" else sdpa_attention
    return Scorer(model, _reads(recipe), reference, options, attention=attention), copy


def _cast_trained(model: VisionLanguageModel, dtype: Dtype | None) -> None:
    for value in model.module.parameters():
        if value.requires_grad and dtype is not None:
            value.data = value.data.to(getattr(torch, dtype))


def _reads(recipe: Recipe) -> TermInputs:
    from mdpo_core.objective.objective import Objective

    return Objective(dict(zip(recipe.labels(), recipe.objective, strict=True))).reads


def _arithmetic(recipe: Recipe) -> AbstractContextManager[object]:
    backend = recipe.backend
    if backend.arithmetic == backend.computes_in:
        return nullcontext()
    return torch.autocast("cpu", getattr(torch, backend.arithmetic))


def _step(scorer: Scorer, batch: Batch, held: HeldBytes, arithmetic: AbstractContextManager[object]) -> Step:
    lasting = held.now
    with held, held.span() as forward:
        with _logits_measured(scorer, held) as logits, arithmetic:
            scored = scorer(batch)
        values = [tokens.values for tokens in scored.policy.values()]
        values += [
            value for by_view in (*scored.statistics.values(), *scored.probes.values()) for value in by_view.values()
        ]
        loss = sum((value.sum() for value in values if value.requires_grad), torch.zeros(()))
        del scored, values
    activations = held.now - lasting
    with held, held.span() as backward:
        torch.autograd.backward(loss)
    return Step(activations, max(logits, default=0), forward.peak - lasting, backward.peak - lasting)


@contextmanager
def _logits_measured(scorer: Scorer, held: HeldBytes) -> Iterator[list[int]]:
    """Collect what each call of the head holds at most."""
    found: list[int] = []
    model, plain = scorer.model, scorer.model.through_head

    def measured(compute: Callable[[Head, Tensor], Any], hidden: Tensor) -> Any:
        with held.span() as span:
            computed = plain(compute, hidden)
        found.append(span.peak - span.before)
        return computed

    vars(model)["through_head"] = measured
    try:
        yield found
    finally:
        del vars(model)["through_head"]
