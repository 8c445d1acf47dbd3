"""A micro-batch: token ids and image inputs, not yet padded or laid out (that is the scorer's business)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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

    ``prompts[condition][row]``, ``responses[name][row]`` (``(time,)`` int64, end token included),
    ``columns[name]`` ``(batch,)``, ``applies`` ``(batch,)`` bool: the row has an image.
    """

    ids: tuple[str, ...]
    prompts: Mapping[str, tuple[EncodedPrompt, ...]]
    responses: Mapping[str, tuple[Tensor, ...]]
    columns: Mapping[str, Tensor]
    applies: Tensor

    def __len__(self) -> int:
        return len(self.ids)
