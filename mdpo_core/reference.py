"""The reference that log-ratios are taken against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from mdpo_core.batch import Batch
from mdpo_core.protocols import VisionLanguageModel
from mdpo_core.scores import TokenLogProbs
from mdpo_core.view import View

Score = Callable[[VisionLanguageModel], dict[View, TokenLogProbs]]


class Reference(ABC):
    """Gives the reference's log-probs of a batch, without gradients."""

    @abstractmethod
    def log_probs(self, batch: Batch, policy: VisionLanguageModel, score: Score) -> dict[View, TokenLogProbs]:
        """``score(model)`` gives the log-probs of the batch's views by a model."""


class ModelReference(Reference):
    """A reference that is computed in every step."""

    @abstractmethod
    def active(self, policy: VisionLanguageModel) -> AbstractContextManager[VisionLanguageModel]:
        """The model that scores the reference, for the time of a ``with``."""

    def log_probs(self, batch: Batch, policy: VisionLanguageModel, score: Score) -> dict[View, TokenLogProbs]:
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
    """A second model, as the policy was before training."""

    model: VisionLanguageModel

    @contextmanager
    def active(self, policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
        yield self.model
