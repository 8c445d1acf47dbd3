"""The contracts of shared prompts and of activation checkpointing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import PIL.ImageOps
import torch
from torch import nn

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.corruption import ImageCorruption
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing.adapters.model import ModelUnderTest
from mdpo_core.testing.adapters.parity import Measured, measure, require_parity
from mdpo_core.testing.sentences import Broken, require
from mdpo_core.types.batch import Batch
from mdpo_core.types.example import Example
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from PIL.Image import Image

# How much two ways may differ in float32: a log-prob in nats, a gradient as a share of the largest gradient.
_NATS = 1e-4
_SHARE = 1e-3


class _Inverted(ImageCorruption):
    """The negative of an image: always different from it, and of the same size."""

    def __call__(self, image: Image, rng: random.Random) -> Image:
        return PIL.ImageOps.invert(image)


def check_shared_prefix(tested: ModelUnderTest, model: VisionLanguageModel) -> None:
    """Check that shared prompts give the same log-probs and gradients as one sequence for each view.

    The batches hold several prompts and images in different orders, with two or more responses to each prompt.
    """
    require(
        hasattr(model, "packed_hidden_states"),
        f"{tested.name} sets shares_prefix, but its model has no packed_hidden_states",
    )
    examples = list(tested.examples)
    # One example's prompt with the next one's responses: prompts with more branches.
    crossed = [replace(one, responses=other.responses) for one, other in pairwise(examples)]
    for rows in (examples, examples[::-1], examples[:1], [*examples, *crossed]):
        batch = _batch(tested, rows)
        shared, separate = (_measured(model, batch, options) for options in (Scoring(), PLAIN))
        require_parity(f"{tested.name} with a shared prompt", shared, separate, _NATS, _SHARE)


def check_recomputed(tested: ModelUnderTest, model: VisionLanguageModel, options: Scoring) -> None:
    """Check that layers recomputed in backward give the same log-probs and gradients, dropout included."""
    layers = list(model.layers())
    _check_layers(tested, model, layers)
    batch = _batch(tested, tested.examples)
    model.set_training(True)
    kept = _measured(model, batch, options)
    with _recomputed(layers):
        try:
            again = _measured(model, batch, options)
        except RuntimeError as error:
            raise Broken(f"{tested.name}: layers cannot be recomputed in backward: {error}") from error
    model.set_training(False)
    require_parity(f"{tested.name} with layers recomputed in backward", again, kept, _NATS, _SHARE)


def _check_layers(tested: ModelUnderTest, model: VisionLanguageModel, layers: Sequence[nn.Module]) -> None:
    require(bool(layers), f"{tested.name}: layers() is empty, so activation checkpointing saves no memory")
    language = {id(model.module.get_parameter(name)) for name in model.parts()["language"]}
    called: set[nn.Module] = set()
    hooks = [layer.register_forward_pre_hook(lambda layer, _: called.add(layer)) for layer in layers]
    tested.log_probs(model, [0])
    for hook in hooks:
        hook.remove()
    for index, layer in enumerate(layers):
        name = f"{tested.name}: layer {index} of layers(), {type(layer).__name__},"
        require(layer in called, f"{name} is not called in the forward")
        inside = all(id(parameter) in language for parameter in layer.parameters())
        require(inside, f"{name} has parameters that are not in the part 'language'")


@contextmanager
def _recomputed(layers: Sequence[nn.Module]) -> Iterator[None]:
    before = [layer.forward for layer in layers]
    recompute_in_backward(layers, "full")
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            layer.forward = forward


def _batch(tested: ModelUnderTest, rows: Sequence[Example]) -> Batch:
    """Each response under the clean and the inverted image."""
    views = [View(view.response, condition) for view in tested.views for condition in (view.condition, "inverted")]
    builder = BatchBuilder(tested.encoder, tuple(views), {"inverted": _Inverted()}, (), 10**9, 0)
    return builder.build(rows, range(len(rows)), epoch=0)


def _measured(model: VisionLanguageModel, batch: Batch, options: Scoring) -> Measured:
    """Measure a batch, with the same dropout each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return measure(Scorer(model, TermInputs(tuple(batch.digests)), options=options), batch)
