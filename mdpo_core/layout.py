"""How prompts and responses lie in the tensors that a language model takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mdpo_core.batch import Item

if TYPE_CHECKING:
    import torch
    from torch import Tensor


# Attention over a packed row: query, key, value, the row and the scale (None: the usual one).
Attention: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Packed, float | None], Tensor]"


class PaddedView(NamedTuple):
    """Prompt and response of each row, side by side and right-padded, all ``(batch, time)``.

    ``response_mask`` is true on response tokens, end token included. ``attention_mask`` is 0 where nothing attends to a
    token: for padding, and for image tokens that are hidden.
    """

    token_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor


def pad_view(
    prompts: Sequence[Tensor], responses: Sequence[Tensor], hidden: Sequence[Tensor | None] = ()
) -> PaddedView:
    """Lay out one view of a batch. Padding is id 0, which nothing attends to, nor to a prompt's ``hidden`` tokens."""
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
    for row, places in enumerate(hidden):
        if places is not None:
            attention_mask[row, : len(places)] = ~places
    return PaddedView(token_ids, attention_mask, response_mask)


@dataclass(frozen=True, eq=False)
class Packed:
    """Prompts, each followed by its responses as branches, all in one row without padding.

    A branch goes on from its prompt as if it were alone: it attends to the prompt and to itself (see `attend`), and
    its positions follow the prompt's. ``token_ids`` and ``position_ids``: ``(1, time)`` int64. ``lengths``: of each
    prompt, and of its branches. ``attention`` is what `attend` calls. ``hidden``: of each prompt, which of its tokens
    nothing attends to, ``(time,)`` bool.
    """

    token_ids: Tensor
    position_ids: Tensor
    lengths: tuple[tuple[int, ...], ...]
    attention: Attention
    hidden: tuple[Tensor | None, ...] = ()

    def to(self, device: torch.device) -> Packed:
        return replace(self, token_ids=self.token_ids.to(device), position_ids=self.position_ids.to(device))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
        """Causal attention in which a branch sees its prompt and itself, and nothing else.

        ``query``: ``(1, heads, time, dim)``; ``key`` and ``value`` may have fewer heads, each for as many of the
        query's. Gives ``(1, heads, time, dim)``.
        """
        return self.attention(query, key, value, self, scale)

    @property
    def sizes(self) -> list[int]:
        """The lengths of prompts and branches as they follow one another."""
        return [length for lengths in self.lengths for length in lengths]

    @cached_property
    def masks(self) -> dict[Hashable, Any]:
        """What attention makes once for all layers."""
        return {}

    @cached_property
    def groups(self) -> Tensor:
        """The number of each token's prompt, ``(time,)``."""
        return self._repeated([number for number, lengths in enumerate(self.lengths) for _ in lengths])

    @cached_property
    def branches(self) -> Tensor:
        """0 for a prompt's tokens, 1 for those of its first branch, and so on, ``(time,)``."""
        return self._repeated([branch for lengths in self.lengths for branch, _ in enumerate(lengths)])

    def hides(self, number: int) -> Tensor | None:
        """Which tokens of a prompt nothing attends to, ``(time,)`` bool; None for none of them."""
        return self.hidden[number] if self.hidden else None

    @cached_property
    def read(self) -> Tensor:
        """Where hidden states predict a response: a prompt's last token, and all of a branch but its last; ``(read,)``.

        A model may leave out what only serves the hidden states of other places.
        """
        import torch

        predicts = self.branches > 0
        last = torch.tensor(self.sizes, device=predicts.device).cumsum(0) - 1
        predicts[last] = ~predicts[last]
        return predicts.nonzero().squeeze(1)

    def _repeated(self, numbers: list[int]) -> Tensor:
        import torch

        repeats = torch.tensor(self.sizes)
        return torch.repeat_interleave(torch.tensor(numbers), repeats).to(self.token_ids.device)


class Packing(NamedTuple):
    """A row, the images of its prompts in order, and where in the row each item's response begins.

    ``starts[item]`` is that of its prompt's last token, which predicts the response's first, and of its response.
    """

    packed: Packed
    image_indices: list[int]
    starts: list[tuple[int, int]]


def pack(items: Sequence[Item], attention: Attention) -> Packing:
    """Lay out items in one row, each distinct prompt and each distinct response to it once."""
    import torch

    groups = _group(items)
    parts = [ids for group in groups.values() for ids in group.values()]
    begins = dict(zip(((key, text) for key, group in groups.items() for text in group), _begins(parts), strict=True))
    positions = [
        torch.arange(len(ids)) + (0 if text == PROMPT else len(group[PROMPT]))
        for group in groups.values()
        for text, ids in group.items()
    ]
    packed = Packed(
        torch.cat(parts)[None],
        torch.cat(positions)[None],
        tuple(tuple(len(ids) for ids in group.values()) for group in groups.values()),
        attention,
        tuple({_key(item): item.hidden for item in items}.values()),
    )
    starts = [
        (begins[_key(item), PROMPT] + len(item.prompt) - 1, begins[_key(item), _text(item.response)]) for item in items
    ]
    return Packing(packed, [index for _, indices, _ in groups for index in indices], starts)


# The key of a group's prompt among its responses, none of which is empty.
PROMPT = b""
Key = tuple[bytes, tuple[int, ...], bytes]


def _group(items: Sequence[Item]) -> dict[Key, dict[bytes, Tensor]]:
    groups: dict[Key, dict[bytes, Tensor]] = {}
    for item in items:
        groups.setdefault(_key(item), {PROMPT: item.prompt})[_text(item.response)] = item.response
    return groups


def _key(item: Item) -> Key:
    return _text(item.prompt), item.image_indices, b"" if item.hidden is None else _text(item.hidden)


def _text(ids: Tensor) -> bytes:
    return ids.numpy().tobytes()


def _begins(parts: Sequence[Tensor]) -> list[int]:
    return [0, *accumulate(len(ids) for ids in parts)][:-1]
