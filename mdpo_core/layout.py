"""How a view's rows lie in a padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.batch import EncodedPrompt

if TYPE_CHECKING:
    from torch import Tensor


class PaddedView(NamedTuple):
    """Prompt and response of each row, side by side and right-padded, all ``(batch, time)``.

    ``response_mask`` is true on response tokens, end token included.
    """

    token_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor


def pad_view(prompts: Sequence[EncodedPrompt], responses: Sequence[Tensor]) -> PaddedView:
    """Lay out one view of a batch. Padding is id 0, which nothing attends to."""
    import torch

    lengths = [len(prompt.token_ids) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    shape = (len(lengths), max(lengths))
    token_ids = torch.zeros(shape, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    response_mask = torch.zeros(shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = len(prompt.token_ids), lengths[row]
        token_ids[row, :start] = prompt.token_ids
        token_ids[row, start:end] = response
        attention_mask[row, :end] = 1
        response_mask[row, start:end] = True
    return PaddedView(token_ids, attention_mask, response_mask)
