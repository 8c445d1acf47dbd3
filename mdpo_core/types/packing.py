"""Lays out prompts and responses in one packed row, and says where each response is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mdpo_core.types.batch import EncodedPrompt, Item
from mdpo_core.types.layout import Attention, Packed

if TYPE_CHECKING:
    from torch import Tensor


# The parts of something that belong together, one behind the other.
Parts: TypeAlias = "tuple[slice, ...]"


class Packing(NamedTuple):
    """A packed row, and where its items are.

    ``image_indices``: the images of its prompts, in order. ``predicting``: the positions in the row whose hidden states
    predict ``predicted``, the token ids of the distinct responses, both ``(tokens,)``; tokens with which all responses
    to a prompt begin are there once. ``spans[item]``: the parts of those two that belong to an item, one behind the
    other; equal items have the same ones.
    """

    packed: Packed
    image_indices: list[int]
    predicting: Tensor
    predicted: Tensor
    spans: list[Parts]


def pack(items: Sequence[Item], attention: Attention, multiple: int = 1) -> Packing:
    """Lay out items in one row, each distinct prompt once, and each distinct response to it without what is in common.

    The row's length is a multiple of ``multiple``: what is missing is a prompt without responses, to which nothing else
    attends.
    """
    import torch

    keys = [_key(item) for item in items]
    prompts: dict[_PromptKey, dict[_Key, Item]] = {}
    for key, item in zip(keys, items, strict=True):
        prompts.setdefault(key.prompt, {})[key] = item
    row, repeats = _Row(), Counter(keys)
    for branches in prompts.values():
        row.add(branches, repeats)
    row.pad(multiple)
    return Packing(
        row.packed(attention),
        row.image_indices,
        torch.cat(row.predicting),
        torch.cat(row.predicted),
        [row.spans[key] for key in keys],
    )


def joined(values: Tensor, parts: Parts) -> Tensor:
    """The ``parts`` of ``values (tokens, ...)`` in one tensor."""
    import torch

    return torch.cat([values[part] for part in parts])


def common_beginning(responses: Sequence[Tensor]) -> int:
    """How many tokens all ``responses``, each ``(time,)``, begin with; 0 if there is only one.

    The last token of a response never counts, so that something is left of each of them.
    """
    import torch

    if len(responses) < 2:
        return 0
    most = min(len(response) for response in responses) - 1
    begins = torch.stack([response[:most] for response in responses])
    return int((begins == begins[0]).all(dim=0).cumprod(dim=0).sum())


class _PromptKey(NamedTuple):
    """Prompts are equal where these are; tensors as bytes."""

    token_ids: bytes
    image_indices: tuple[int, ...]
    dropped: bytes | None


class _Key(NamedTuple):
    """Items are equal where these are."""

    prompt: _PromptKey
    response: bytes


def _key(item: Item) -> _Key:
    dropped = None if item.dropped is None else _bytes(item.dropped)
    return _Key(_PromptKey(_bytes(item.prompt), item.image_indices, dropped), _bytes(item.response))


def _bytes(values: Tensor) -> bytes:
    return values.numpy().tobytes()


class _Row:
    """A packed row to which prompts are added, each with its branches. Other attributes: see `Packing`."""

    def __init__(self) -> None:
        self.image_indices: list[int] = []
        self.predicting: list[Tensor] = []
        self.predicted: list[Tensor] = []
        self.spans: dict[_Key, Parts] = {}
        self._token_ids: list[Tensor] = []
        self._position_ids: list[Tensor] = []
        self._lengths: list[tuple[int, ...]] = []
        self._dropped: list[Tensor | None] = []
        self._common: list[int] = []
        self._repeats: list[tuple[int, ...]] = []
        self._length = self._num_predicted = 0

    def add(self, branches: Mapping[_Key, Item], repeats: Mapping[_Key, int]) -> None:
        """Append a prompt and the responses of ``branches``, which all have this prompt."""
        import torch

        first = next(iter(branches.values()))
        common = common_beginning([item.response for item in branches.values()])
        prompt = EncodedPrompt(first.prompt, dropped=first.dropped).followed_by(first.response[:common])
        end = self._append(prompt.token_ids, 0) + len(first.prompt)
        # The prompt's last token predicts the first one.
        shared = self._predict(torch.arange(end - 1, end + common - 1), first.response[:common])
        for key, item in branches.items():
            own = item.response[common:]
            start = self._append(own, len(prompt.token_ids))
            # The response's last token predicts nothing.
            places = torch.cat([torch.tensor([end + common - 1]), torch.arange(start, start + len(own) - 1)])
            self.spans[key] = (*([shared] * (common > 0)), self._predict(places, own))
        self._add_lengths((len(prompt.token_ids), *(len(item.response) - common for item in branches.values())), common)
        self._dropped.append(prompt.dropped)
        self._repeats.append(tuple(repeats[key] for key in branches))
        self.image_indices += first.image_indices

    def pad(self, multiple: int) -> None:
        """Append a prompt, so that the length is a multiple of ``multiple``. It repeats the last token, a word's."""
        missing = -self._length % multiple
        if missing:
            self._append(self._token_ids[-1][-1:].expand(missing), 0)
            self._add_lengths((missing,), 0)
            self._dropped.append(None)
            self._repeats.append(())

    def _append(self, token_ids: Tensor, first_position: int) -> int:
        """Append token ids; return the position in the row of the first of them."""
        import torch

        start = self._length
        self._token_ids.append(token_ids)
        self._position_ids.append(torch.arange(len(token_ids)) + first_position)
        self._length += len(token_ids)
        return start

    def _predict(self, places: Tensor, token_ids: Tensor) -> slice:
        """Let the hidden states at ``places`` predict ``token_ids``; return where these are in `Packing.predicted`."""
        start = self._num_predicted
        self.predicting.append(places)
        self.predicted.append(token_ids)
        self._num_predicted += len(token_ids)
        return slice(start, self._num_predicted)

    def _add_lengths(self, lengths: tuple[int, ...], common: int) -> None:
        self._lengths.append(lengths)
        self._common.append(common)

    def packed(self, attention: Attention) -> Packed:
        import torch

        token_ids, position_ids = torch.cat(self._token_ids)[None], torch.cat(self._position_ids)[None]
        dropped, common, repeats = tuple(self._dropped), tuple(self._common), tuple(self._repeats)
        return Packed(token_ids, position_ids, tuple(self._lengths), attention, dropped, common, repeats)
