"""A model that continues answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.data.responses import added_text, tokens_of_beginning
from mdpo_core.interfaces.model import Decoding, Encoder, VisionLanguageModel
from mdpo_core.types.batch import EncodedPrompt

if TYPE_CHECKING:
    from torch import Tensor


class ContinuationTask(NamedTuple):
    """A prompt and the beginning of its answer. ``seed``: for drawing tokens."""

    prompt: EncodedPrompt
    beginning: str
    seed: int


class Added(NamedTuple):
    """The text that a model added to a beginning. ``ended``: the model stopped before the limit of tokens."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Writer:
    """Continues answers, ``at_once`` of them together.

    Drawn answers are computed one at a time, so that an answer does not depend on the others in its batch.
    """

    model: VisionLanguageModel
    encoder: Encoder
    decoding: Decoding
    at_once: int

    def __call__(self, tasks: Sequence[ContinuationTask]) -> list[Added]:
        size = self.at_once if self.decoding.temperature == 0 else 1
        return [added for start in range(0, len(tasks), size) for added in self._continued(tasks[start : start + size])]

    def _continued(self, tasks: Sequence[ContinuationTask]) -> list[Added]:
        import torch

        beginnings = [tokens_of_beginning(self.encoder, task.beginning) for task in tasks]
        prompts = [task.prompt.followed_by(ids) for task, ids in zip(tasks, beginnings, strict=True)]
        with torch.no_grad():
            continuations = self.model.generate(prompts, replace(self.decoding, seed=tasks[0].seed))
        return [self._added(ids, more) for ids, more in zip(beginnings, continuations, strict=True)]

    def _added(self, beginning: Tensor, more: Tensor) -> Added:
        return Added(added_text(self.encoder, beginning, more), ended=len(more) < self.decoding.max_new_tokens)
