"""A micro-batch: rows of token ids and image inputs. Laying them out in tensors is the scorer's business."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.types.view import View


# One image as a model takes it: tensors by the names that it has for them, in shapes that may depend on the image.
ImageInputs: TypeAlias = "Mapping[str, Tensor]"


def same_inputs(one: ImageInputs, other: ImageInputs) -> bool:
    """Whether a model sees the same image in both."""
    return one.keys() == other.keys() and all(values.equal(other[name]) for name, values in one.items())


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt under one image condition.

    ``token_ids``: ``(time,)`` int64, with each ``<image>`` mark expanded to its image tokens. ``images``: the inputs
    of each image, in order. ``dropped``: ``(time,)`` bool, the tokens that nothing attends to.
    """

    token_ids: Tensor
    images: tuple[ImageInputs, ...] = ()
    dropped: Tensor | None = None

    def followed_by(self, token_ids: Tensor) -> EncodedPrompt:
        """The same with the beginning of a response behind it, for a model to go on from."""
        shown = None if self.dropped is None else self.dropped.new_zeros(len(token_ids))
        dropped = None if shown is None or self.dropped is None else _joined(self.dropped, shown)
        return replace(self, token_ids=_joined(self.token_ids, token_ids), dropped=dropped)


@dataclass(frozen=True)
class EncodedImage:
    """An image behind a model's vision encoder: ``features`` ``(image_tokens, width)``, and the inputs it had."""

    features: Tensor
    inputs: ImageInputs


class Item(NamedTuple):
    """A view of a row: what is read first, and the ``response`` behind it, which is predicted, end token included.

    All are ``(time,)``. ``image_indices``: the prompt's images in `Batch.images`. ``turns``: the number of the turn of
    each of the response's tokens, 0 where it is not scored. ``dropped``: see `EncodedPrompt`.
    """

    prompt: Tensor
    image_indices: tuple[int, ...]
    response: Tensor
    turns: Tensor
    dropped: Tensor | None = None


@dataclass(frozen=True)
class EncodedRow:
    """A row of data, encoded under each condition.

    ``prompts`` are by condition. ``responses`` are by name: token ids ``(time,)`` int64, end token included.
    ``corruptible``: True if the conditions can change this row (usually: it has an image). ``text_starts[condition]``:
    where the prompt's text begins behind its images. ``turns[name]``, ``(time,)`` int64, for responses that are
    conversations: the number of each token's turn, from 1, and 0 where it is not scored.
    """

    id: str
    prompts: Mapping[str, EncodedPrompt]
    responses: Mapping[str, Tensor]
    columns: Mapping[str, float]
    corruptible: bool
    text_starts: Mapping[str, int] = field(default_factory=dict)
    turns: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def image_digests(self) -> Mapping[str, tuple[bytes, ...]]:
        """Digests of each condition's images."""
        return {condition: tuple(map(_digest, prompt.images)) for condition, prompt in self.prompts.items()}

    def digest(self, view: View) -> bytes:
        """Of everything that a model sees of a view: token ids and image inputs."""
        prompt, response = self.prompts[view.condition], self.responses[view.response]
        found = hashlib.sha256(b"".join(self.image_digests[view.condition]))
        for ids in (prompt.token_ids, response):
            found.update(len(ids).to_bytes(8, "little") + _bytes(ids))
        # What few rows have adds nothing to the digests of the others.
        if prompt.dropped is not None:
            found.update(b"hidden" + _bytes(prompt.dropped))  # the word is part of stored digests
        if view.response in self.turns:
            found.update(b"turns" + _bytes(self.turns[view.response]))
        if view.with_prompt:
            found.update(b"text" + self.text_starts[view.condition].to_bytes(8, "little"))
        return found.digest()

    def item(self, view: View, image_indices: tuple[int, ...]) -> Item:
        """A view of the row, cut where its score begins."""
        prompt, response = self.prompts[view.condition], self.responses[view.response]
        turns = self.turns[view.response] if view.response in self.turns else response.new_ones(len(response))
        if not view.with_prompt:
            return Item(prompt.token_ids, image_indices, response, turns, prompt.dropped)
        read, text = prompt.token_ids.tensor_split([self.text_starts[view.condition]])
        dropped = None if prompt.dropped is None else prompt.dropped[: len(read)]
        scored = _joined(text.new_ones(len(text)), turns)
        return Item(read, image_indices, _joined(text, response), scored, dropped)


@dataclass(frozen=True)
class Batch:
    """Rows to be scored, on the CPU; see `collate`.

    ``images``: every distinct image of the rows, once. ``image_indices[row][condition]``: which of them the prompt
    shows, in order. ``digests[view][row]`` differs wherever a model sees something else of a view.
    """

    rows: tuple[EncodedRow, ...]
    images: tuple[ImageInputs, ...]
    image_indices: tuple[Mapping[str, tuple[int, ...]], ...]
    digests: Mapping[View, tuple[bytes, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def items(self) -> Mapping[View, tuple[Item, ...]]:
        """Each view of ``digests``, row by row."""
        rows = list(zip(self.rows, self.image_indices, strict=True))
        return {view: tuple(row.item(view, images[view.condition]) for row, images in rows) for view in self.digests}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the rows."""
        return tuple(row.id for row in self.rows)

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """The columns of the rows, each ``(batch,)`` float32."""
        import torch

        return {name: torch.tensor([row.columns[name] for row in self.rows]) for name in self.rows[0].columns}

    @property
    def corruptible(self) -> Tensor:
        """`EncodedRow.corruptible` of each row, ``(batch,)`` bool."""
        import torch

        return torch.tensor([row.corruptible for row in self.rows])

    def has_turns(self, response: str) -> bool:
        """Whether this response is a conversation in any row, so that some of its tokens may not be scored."""
        return any(response in row.turns for row in self.rows)


def _digest(image: ImageInputs) -> bytes:
    found = hashlib.sha256()
    for name, values in sorted(image.items()):
        found.update(f"{name}{tuple(values.shape)}{values.dtype}".encode() + _bytes(values))
    return found.digest()


def _bytes(values: Tensor) -> bytes:
    import torch

    return values.contiguous().view(torch.uint8).numpy().tobytes()


def _joined(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts)
