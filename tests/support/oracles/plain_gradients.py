"""Gradients of a scorer against those of one plain transformers forward for each view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForMultimodalLM

from mdpo_core import Example, Placement, TokenLogProbs, View
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from support.oracles.plain_vlms import NATS, VIEWS, adapter, examples, plain_log_probs

# Of the largest gradient.
SHARE = 1e-4


def require_gradients_of_plain_forwards(family: str, folder: Path, photographs: Path, options: Scoring) -> None:
    """Raise `AssertionError` unless each log-prob and each gradient is that of plain forwards; all parts train."""
    data, made = examples(family, photographs), adapter(family, folder, freeze=())
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    model = made.load(Placement())
    share = options.share_prefix and made.shares_prefix
    options = options.model_copy(update={"share_prefix": share})
    scored = Scorer(model, TermInputs(tuple(VIEWS)), options=options)(batch).policy
    plain = AutoModelForMultimodalLM.from_pretrained(folder).eval()
    require_plain(scored, model.module, data, PlainModel(plain, family, folder))


class PlainModel(NamedTuple):
    """A model of transformers, its family, and the folder that it was read from."""

    model: nn.Module
    family: str
    folder: Path


def require_plain(
    scored: Mapping[View, TokenLogProbs], module: nn.Module, data: Sequence[Example], plain: PlainModel
) -> None:
    """Raise `AssertionError` unless ``scored`` and its gradients are those of a plain forward for each row and view."""
    total, expected = torch.zeros(()), torch.zeros(())
    for sign, view in zip((1.0, -0.7), VIEWS, strict=True):
        for row, example in enumerate(data):
            own = scored[view].values[row][scored[view].mask[row]]
            alone = plain_log_probs(plain.model, plain.family, plain.folder, example, view)
            torch.testing.assert_close(own, alone, atol=NATS, rtol=NATS)
            total, expected = total + sign * (row + 1) * own.sum(), expected + sign * (row + 1) * alone.sum()
    _require_equal(_gradients(total, module), _gradients(expected, plain.model))


def _require_equal(found: dict[str, Tensor | None], wanted: dict[str, Tensor | None]) -> None:
    """Every parameter that trains has a gradient; parameters that do not train are not in ``found``."""
    largest = max(float(value.abs().max()) for value in wanted.values() if value is not None)
    for name, value in found.items():
        plain = wanted[name]
        assert value is not None, name
        assert plain is not None, name
        assert float((value - plain).abs().max()) <= SHARE * largest, name


def _gradients(total: Tensor, module: nn.Module) -> dict[str, Tensor | None]:
    named = {name: value for name, value in module.named_parameters() if value.requires_grad}
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))
