"""A micro-batch: token ids and image inputs, not yet laid out in rows (that is the scorer's business)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.view import View


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt under one image condition.

    ``token_ids``: ``(time,)`` int64, with each ``<image>`` mark expanded to its image tokens. ``images``: the
    model's own image inputs by name, each ``(num_images, ...)``; empty without images.
    """

    token_ids: Tensor
    images: Mapping[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Rows to be scored, on the CPU.

    ``prompts[condition][row]`` and ``responses[name][row]``: token ids ``(time,)`` int64, a response's end token
    included. ``images``: the model's image inputs by name, each ``(num_images, ...)``, every distinct image once;
    ``pictures[condition][row]``: which of them the prompt shows, in order. ``digests[view][row]`` tells apart
    everything a model sees of a view. ``columns[name]`` ``(batch,)``; ``applies`` ``(batch,)`` bool: the row has an
    image.
    """

    ids: tuple[str, ...]
    prompts: Mapping[str, tuple[Tensor, ...]]
    responses: Mapping[str, tuple[Tensor, ...]]
    pictures: Mapping[str, tuple[tuple[int, ...], ...]]
    images: Mapping[str, Tensor]
    digests: Mapping[View, tuple[bytes, ...]]
    columns: Mapping[str, Tensor]
    applies: Tensor

    def __len__(self) -> int:
        return len(self.ids)
