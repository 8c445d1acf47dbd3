"""A micro-batch: token ids and image inputs, not yet laid out in rows (that is the scorer's business)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.view import View


# One image as a model takes it: tensors by the names that it has for them, in shapes that may depend on the image.
ImageInputs: TypeAlias = "Mapping[str, Tensor]"


def same_inputs(one: ImageInputs, other: ImageInputs) -> bool:
    """Whether a model sees the same image in both."""
    return one.keys() == other.keys() and all(values.equal(other[name]) for name, values in one.items())


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt under one image condition.

    ``token_ids``: ``(time,)`` int64, with each ``<image>`` mark expanded to its image tokens. ``images``: the inputs
    of each image, in order. ``hidden``: ``(time,)`` bool, the tokens that nothing attends to.
    """

    token_ids: Tensor
    images: tuple[ImageInputs, ...] = ()
    hidden: Tensor | None = None

    def followed_by(self, token_ids: Tensor) -> EncodedPrompt:
        """The same with the beginning of a response behind it, for a model to go on from."""
        shown = None if self.hidden is None else self.hidden.new_zeros(len(token_ids))
        hidden = None if shown is None or self.hidden is None else _joined(self.hidden, shown)
        return replace(self, token_ids=_joined(self.token_ids, token_ids), hidden=hidden)


@dataclass(frozen=True)
class EncodedImage:
    """An image behind a model's vision encoder: ``features`` ``(image_tokens, width)``, and the inputs it had."""

    features: Tensor
    inputs: ImageInputs


class Item(NamedTuple):
    """A view of a row: what is read first, and the ``response`` behind it, which is predicted, end token included.

    All are ``(time,)``. ``pictures``: the numbers of the prompt's images. ``turns``: the number of the turn of each of
    the response's tokens, 0 where it is not scored. ``hidden``: see `EncodedPrompt`.
    """

    prompt: Tensor
    pictures: tuple[int, ...]
    response: Tensor
    turns: Tensor
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Rows to be scored, on the CPU.

    ``prompts[condition][row]`` and ``responses[name][row]``: token ids ``(time,)`` int64, a response's end token
    included. ``images``: the inputs of every distinct image, once; ``pictures[condition][row]``: which of them the
    prompt shows, in order. ``digests[view][row]`` tells apart everything a model sees of a view. ``columns[name]``
    ``(batch,)``; ``applies`` ``(batch,)`` bool: the row has what conditions change, most often an image.
    ``text_starts[condition][row]``: where the prompt's text begins behind its images. ``turns[name][row]`` ``(time,)``
    int64, of responses that are conversations: the number of each token's turn, from 1, and 0 where it is not scored.
    ``hidden[condition][row]``: see `EncodedPrompt`.
    """

    ids: tuple[str, ...]
    prompts: Mapping[str, tuple[Tensor, ...]]
    responses: Mapping[str, tuple[Tensor, ...]]
    pictures: Mapping[str, tuple[tuple[int, ...], ...]]
    images: tuple[ImageInputs, ...]
    digests: Mapping[View, tuple[bytes, ...]]
    columns: Mapping[str, Tensor]
    applies: Tensor
    text_starts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    turns: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    hidden: Mapping[str, tuple[Tensor | None, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def item(self, view: View, row: int) -> Item:
        """A row of a view, cut where its score begins."""
        prompt, response = self.prompts[view.condition][row], self.responses[view.response][row]
        turns = self.turns[view.response][row] if view.response in self.turns else response.new_ones(len(response))
        hidden = self.hidden[view.condition][row] if view.condition in self.hidden else None
        if view.with_prompt:
            prompt, text = prompt.tensor_split([self.text_starts[view.condition][row]])
            hidden = None if hidden is None else hidden[: len(prompt)]
            response, turns = _joined(text, response), _joined(text.new_ones(len(text)), turns)
        return Item(prompt, self.pictures[view.condition][row], response, turns, hidden)


def _joined(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts)
