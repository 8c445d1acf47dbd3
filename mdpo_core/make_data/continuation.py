"""A model that goes on with answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor

from mdpo_core.interfaces.model import Decoding, Encoder, VisionLanguageModel
from mdpo_core.types.batch import EncodedPrompt

# What ends a turn stands behind all of these.
_PROBES = ("a", "0", ".", "No")


class ContinuationTask(NamedTuple):
    """A prompt, and the beginning of an answer; ``seed`` is for drawn tokens."""

    prompt: EncodedPrompt
    beginning: str
    seed: int


class Added(NamedTuple):
    """What a model put behind the beginning; ``ended``: it stopped by itself."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Writer:
    """Goes on with answers, ``at_once`` together; drawn ones each by itself, so that none depends on those beside."""

    model: VisionLanguageModel
    encoder: Encoder
    decoding: Decoding
    at_once: int

    def __call__(self, tasks: Sequence[ContinuationTask]) -> list[Added]:
        size = self.at_once if self.decoding.temperature == 0 else 1
        return [added for start in range(0, len(tasks), size) for added in self._continued(tasks[start : start + size])]

    def _continued(self, tasks: Sequence[ContinuationTask]) -> list[Added]:
        beginnings = [begun(self.encoder, task.beginning) for task in tasks]
        prompts = [task.prompt.followed_by(ids) for task, ids in zip(tasks, beginnings, strict=True)]
        with torch.no_grad():
            found = self.model.generate(prompts, replace(self.decoding, seed=tasks[0].seed))
        return [self._added(ids, more) for ids, more in zip(beginnings, found, strict=True)]

    def _added(self, beginning: Tensor, more: Tensor) -> Added:
        # Together, as a token by itself may be written otherwise: without the space before it, for one.
        before, whole = self.encoder.decode(beginning), self.encoder.decode(torch.cat([beginning, more]))
        ended = len(more) < self.decoding.max_new_tokens
        return Added(whole.removeprefix(before) if whole.startswith(before) else f" {self.encoder.decode(more)}", ended)


def begun(encoder: Encoder, text: str) -> Tensor:
    """The tokens ``(time,)`` of a response that goes on: without what ends a turn."""
    if not text:
        return torch.empty(0, dtype=torch.long)
    ids = encoder.encode_response(text)
    return ids[: len(ids) - min(_num_common(ids, encoder.encode_response(probe)) for probe in _PROBES)]


def _num_common(one: Tensor, other: Tensor) -> int:
    """How many tokens at their ends are the same."""
    pairs = zip(reversed(one.tolist()), reversed(other.tolist()), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
