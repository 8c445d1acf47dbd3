"""Layouts of prompts and responses in a language model's input: padded, one row each, or packed into one row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mdpo_core.types.transfer import to_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor


# Attention over a packed row: query, key, value, the row, and the scale (None: 1 / sqrt(dim)).
Attention: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Packed, float | None], Tensor]"


class PaddedView(NamedTuple):
    """Each row is a prompt, then its response, then padding. All tensors are ``(batch, time)``.

    ``response_mask`` is true on response tokens, end token included. ``attention_mask`` is 0 where nothing attends to a
    token: for padding, and for image tokens that are dropped.
    """

    token_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor


def pad_view(
    prompts: Sequence[Tensor], responses: Sequence[Tensor], dropped: Sequence[Tensor | None] = ()
) -> PaddedView:
    """Lay out one view of a batch. Padding has id 0; nothing attends to it, nor to ``dropped`` tokens."""
    import torch

    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    shape = (len(lengths), max(lengths))
    token_ids = torch.zeros(shape, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    response_mask = torch.zeros(shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        start, end = len(prompt), lengths[row]
        token_ids[row, :start] = prompt
        token_ids[row, start:end] = response
        attention_mask[row, :end] = 1
        response_mask[row, start:end] = True
    for row, mask in enumerate(dropped):
        if mask is not None:
            attention_mask[row, : len(mask)] = ~mask
    return PaddedView(token_ids, attention_mask, response_mask)


@dataclass(frozen=True, eq=False)
class Packed:
    """Prompts, each followed by its responses as branches, all in one row without padding.

    A branch continues its prompt independently of the other branches: it attends to the prompt and to itself (see
    `attend`), and its positions follow the prompt's. The tokens with which all responses to a prompt begin are at the
    end of the prompt, and so computed once; every branch has at least one token more.
    ``token_ids`` and ``position_ids``: ``(1, time)`` int64. ``lengths``: for each prompt, its length and those of its
    branches. ``attention``: the function that `attend` calls. ``dropped``: for each prompt, ``(time,)`` bool, true on
    tokens that nothing attends to; None: no such tokens. ``common``: for each prompt, how many tokens at its end belong
    to its responses; empty: none. ``repeats``: for each prompt, the number of items that each branch stands for; empty:
    one.
    """

    token_ids: Tensor
    position_ids: Tensor
    lengths: tuple[tuple[int, ...], ...]
    attention: Attention
    dropped: tuple[Tensor | None, ...] = ()
    common: tuple[int, ...] = ()
    repeats: tuple[tuple[int, ...], ...] = ()

    def to(self, device: torch.device) -> Packed:
        """The row with token ids and positions on ``device``."""
        token_ids, position_ids = to_device(self.token_ids, device), to_device(self.position_ids, device)
        moved = replace(self, token_ids=token_ids, position_ids=position_ids)
        vars(moved)["token_ids_on_cpu"] = self.token_ids_on_cpu
        return moved

    @cached_property
    def token_ids_on_cpu(self) -> Tensor:
        """``token_ids`` for code that reads numbers: on a device, the host would wait for each of them."""
        return self.token_ids.cpu()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """Causal attention in which a branch sees only its prompt and itself.

        ``query``: ``(1, heads, time, dim)``; ``key`` and ``value`` may have fewer heads, each for as many of the
        query's. Gives ``(1, heads, time, dim)``.
        """
        return self.attention(query, key, value, self, scale)

    @property
    def sizes(self) -> list[int]:
        """The lengths of prompts and branches, in their order in the row."""
        return [length for lengths in self.lengths for length in lengths]

    @cached_property
    def masks(self) -> dict[Hashable, Any]:
        """A cache for masks, which attention makes once for all layers."""
        return {}

    @cached_property
    def groups(self) -> Tensor:
        """The index of each token's prompt, ``(time,)``."""
        numbers = self._repeated([number for number, lengths in enumerate(self.lengths) for _ in lengths])
        return to_device(numbers, self.token_ids.device)

    @cached_property
    def branches(self) -> Tensor:
        """0 for a prompt's tokens, 1 for those of its first branch, and so on, ``(time,)``."""
        return to_device(self._branches, self.token_ids.device)

    @cached_property
    def responses(self) -> Tensor:
        """Which tokens belong to responses, ``(time,)`` bool: those of branches, and the common ones before them."""
        return to_device(self._from_end_of_prompts(0), self.token_ids.device)

    @property
    def _branches(self) -> Tensor:
        return self._repeated([branch for lengths in self.lengths for branch, _ in enumerate(lengths)])

    def drops(self, number: int) -> Tensor | None:
        """Which tokens of the prompt with this index nothing attends to, ``(time,)`` bool; None: no such tokens."""
        return self.dropped[number] if self.dropped else None

    @cached_property
    def read(self) -> Tensor:
        """Positions whose hidden states predict response tokens, ``(read,)``.

        These are the last token of each prompt without what responses have in common, every token in common, and every
        token of a branch except its last.
        A model need not compute the hidden states of other positions in its last layer.
        """
        import torch

        predicts = self._from_end_of_prompts(1)
        last = torch.tensor(self.sizes).cumsum(0) - 1
        predicts[last] &= self._branches[last] == 0
        return to_device(predicts.nonzero().squeeze(1), self.token_ids.device)

    def _from_end_of_prompts(self, more: int) -> Tensor:
        """The tokens of branches, those in common before them, and ``more`` before these, ``(time,)`` bool."""
        counts = []
        for (prompt, *branches), common in zip(self.lengths, self.common or (0,) * len(self.lengths), strict=True):
            chosen = common + more
            counts += [(False, prompt - chosen), (True, chosen + sum(branches))]
        values, repeats = zip(*counts, strict=True)
        return _repeated(values, repeats)

    def read_everywhere(self) -> Packed:
        """The same row, where a model has to compute every position in its last layer, too."""
        import torch

        whole = replace(self)
        vars(whole)["token_ids_on_cpu"] = self.token_ids_on_cpu
        vars(whole)["read"] = torch.arange(self.token_ids.shape[1], device=self.token_ids.device)
        return whole

    @cached_property
    def readers(self) -> Tensor:
        """The number of items whose sequence has each token, ``(time,)`` on the CPU; 0 for dropped tokens."""
        repeats = self.repeats or tuple((1,) * (len(lengths) - 1) for lengths in self.lengths)
        return self._repeated([number for each in repeats for number in (sum(each), *each)]) * ~self.dropped_on_cpu

    @cached_property
    def dropped_on_cpu(self) -> Tensor:
        """The tokens of the row that nothing attends to, ``(time,)`` bool, on the CPU."""
        import torch

        parts = []
        for number, (prompt, *branches) in enumerate(self.lengths):
            of_prompt = self.drops(number)
            parts.append(torch.zeros(prompt, dtype=torch.bool) if of_prompt is None else of_prompt.cpu())
            parts.append(torch.zeros(sum(branches), dtype=torch.bool))
        return torch.cat(parts)

    def _repeated(self, numbers: list[int]) -> Tensor:
        return _repeated(numbers, self.sizes)


def _repeated(values: Sequence[int], repeats: Sequence[int]) -> Tensor:
    import torch

    return torch.repeat_interleave(torch.tensor(values), torch.tensor(repeats))


def consecutive(lengths: Sequence[int], first: int = 0) -> list[slice]:
    """Adjacent slices of these lengths; the first one starts at ``first``."""
    ends = list(accumulate(lengths, initial=first))
    return [slice(start, end) for start, end in pairwise(ends)]
