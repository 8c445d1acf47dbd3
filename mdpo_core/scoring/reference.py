"""The reference of log-ratios."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mdpo_core.errors import CheckpointError
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.scoring.hidden_states import PredictingHiddenStates, padded
from mdpo_core.scoring.reference_store import Shard
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import TokenLogProbs
from mdpo_core.types.transfer import to_device
from mdpo_core.types.view import View


class ReferenceOutput(NamedTuple):
    """What a reference gives for a batch, without gradients.

    ``states``: the hidden states that its head reads; None if no model ran. ``layers``: the outputs of every
    layer; None unless a probe reads them.
    """

    log_probs: dict[View, TokenLogProbs]
    states: PredictingHiddenStates | None = None
    layers: PredictingHiddenStates | None = None


Score = Callable[[VisionLanguageModel], ReferenceOutput]


class Reference(ABC):
    """Scores a batch beside the policy, without gradients."""

    @abstractmethod
    def output(self, batch: Batch, policy: VisionLanguageModel, score: Score) -> ReferenceOutput:
        """The reference's output for a batch. ``score(model)`` scores the batch's views with a model."""


class ModelReference(Reference):
    """A model that scores every batch."""

    @abstractmethod
    def active(self, policy: VisionLanguageModel) -> AbstractContextManager[VisionLanguageModel]:
        """The reference's model, inside the ``with``."""

    def output(self, batch: Batch, policy: VisionLanguageModel, score: Score) -> ReferenceOutput:
        with torch.no_grad(), self.active(policy) as model:
            return score(model)


class AdapterOff(ModelReference):
    """The policy itself, with its adapter switched off: no second model in memory."""

    @contextmanager
    def active(self, policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
        with policy.adapter_disabled():
            yield policy


@dataclass(frozen=True)
class FrozenCopy(ModelReference):
    """A second model with the policy's weights from before training."""

    model: VisionLanguageModel

    @contextmanager
    def active(self, policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
        yield self.model


class Cached(Reference):
    """Log-probs that were computed before training.

    ``groups``: the shards of each group of views. A view under a corruption that is drawn in each epoch is in several
    groups; the digest of what the model sees of a row tells which one holds its log-probs.
    """

    def __init__(self, groups: Sequence[Sequence[Shard]], folder: Path) -> None:
        self._rows = [
            {name: (shard, row) for shard in shards for row, name in enumerate(shard.ids)} for shards in groups
        ]
        self._folder = folder

    def joined(self, other: Cached) -> Cached:
        """Both, of one folder."""
        joined = Cached((), self._folder)
        joined._rows = [*self._rows, *other._rows]
        return joined

    def output(self, batch: Batch, policy: VisionLanguageModel, score: Score) -> ReferenceOutput:
        return ReferenceOutput(self.log_probs(batch, device_of(policy.module)))

    def log_probs(self, batch: Batch, device: torch.device) -> dict[View, TokenLogProbs]:
        """The log-probs of each view of the batch, on ``device``.

        Raises `CheckpointError` for a row that is missing, or that was different when its log-probs were computed.
        """
        by_view = {}
        for view, digests in batch.digests.items():
            rows = [self._find(view, *row) for row in zip(batch.ids, digests, strict=True)]
            by_view[view] = padded(rows) if not batch.has_turns(view.response) else _laid_out(rows, batch, view)
        return {view: TokenLogProbs(*(to_device(part, device) for part in tokens)) for view, tokens in by_view.items()}

    def _find(self, view: View, name: str, digest: bytes) -> Tensor:
        known = False
        for rows in self._rows:
            shard, row = rows.get(name, (None, 0))
            if shard is None or view not in shard.views:
                continue
            if shard.views[view].digest(row) == digest:
                return shard.views[view].log_probs(row)
            known = True
        raise CheckpointError(f"example '{name}': {self._problem(view, known)}")

    def _problem(self, view: View, known: bool) -> str:
        if known:
            return (
                f"the model's input for '{view}' differs from the one that the reference in {self._folder} was "
                "computed with; reader, corruption and encoder must give the same result every time"
            )
        return (
            f"the reference in {self._folder} has no log-probs for view '{view}' of this example; it covers only the "
            "training data. Use 'reference: adapter_off' or 'frozen_copy' for other examples"
        )


def _laid_out(rows: Sequence[Tensor], batch: Batch, view: View) -> TokenLogProbs:
    """Put each row's log-probs at the positions of its scored tokens, and mask all other tokens."""
    masks = [item.turns > 0 for item in batch.items[view]]
    values = [row.new_zeros(len(mask)).masked_scatter(mask, row) for row, mask in zip(rows, masks, strict=True)]
    return TokenLogProbs(padded(values).values, pad_sequence(masks, batch_first=True))
