"""The reference that log-ratios are taken against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from mdpo_core.protocols import VisionLanguageModel


class Reference(Protocol):
    """Gives the model that scores the reference, for the time of a ``with``."""

    def active(self, policy: VisionLanguageModel) -> AbstractContextManager[VisionLanguageModel]: ...


class AdapterOff:
    """The policy itself, with its adapter switched off: no second model in memory."""

    @contextmanager
    def active(self, policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
        with policy.adapter_disabled():
            yield policy


@dataclass(frozen=True)
class FrozenCopy:
    """A second model, as the policy was before training."""

    model: VisionLanguageModel

    @contextmanager
    def active(self, policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
        yield self.model
