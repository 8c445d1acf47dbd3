"""A micro-batch: rows of token ids and image inputs. The scorer lays them out in padded or packed tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mdpo_core.errors import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.types.view import View


# One image as a model takes it: tensors by the model's names for them. Their shapes may depend on the image.
ImageInputs: TypeAlias = "Mapping[str, Tensor]"


def same_inputs(one: ImageInputs, other: ImageInputs) -> bool:
    """Whether two inputs show a model the same image."""
    return one.keys() == other.keys() and all(values.equal(other[name]) for name, values in one.items())


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt under one image condition.

    ``token_ids``: ``(time,)`` int64, with each ``<image>`` mark expanded to its image tokens. ``images``: the inputs
    of each image, in order; of a video that the model takes as one, its inputs, and its tokens are image tokens, too.
    ``dropped``: ``(time,)`` bool, true on tokens that nothing attends to; None: none.
    """

    token_ids: Tensor
    images: tuple[ImageInputs, ...] = ()
    dropped: Tensor | None = None

    def followed_by(self, token_ids: Tensor) -> EncodedPrompt:
        """The prompt with the beginning of a response, ``(time,)``, after it. A model can continue from there."""
        dropped = self.dropped
        if dropped is not None:
            dropped = _concatenated(dropped, dropped.new_zeros(len(token_ids)))
        return replace(self, token_ids=_concatenated(self.token_ids, token_ids), dropped=dropped)


@dataclass(frozen=True)
class EncodedImage:
    """The output of a model's vision encoder for an image: ``features``, ``(image_tokens, width)``, and its inputs."""

    features: Tensor
    inputs: ImageInputs


class Item(NamedTuple):
    """A view of a row: the ``prompt``, which is read, and the ``response``, which is predicted, end token included.

    Tensors are ``(time,)``. ``image_indices``: indices into `Batch.images` of the prompt's images. ``turns``: for each
    token of the response, the number of its turn from 1, or 0 if it is not scored. ``dropped``: see `EncodedPrompt`.
    """

    prompt: Tensor
    image_indices: tuple[int, ...]
    response: Tensor
    turns: Tensor
    dropped: Tensor | None = None


@dataclass(frozen=True)
class EncodedRow:
    """A row of data, encoded under each condition.

    ``prompts[condition]``: the prompt under a condition. ``responses[name]``: token ids ``(time,)`` int64, end token
    included. ``columns[name]``: the row's numbers. ``corruptible``: True if the conditions can change this row
    (usually: it has an image). ``text_starts[condition]``: the index of the first prompt token after the images.
    ``turns[name]``: only for responses that are conversations, ``(time,)`` int64: the number of each token's turn, from
    1, or 0 if it is not scored. ``source``: see `Example`.
    """

    id: str
    prompts: Mapping[str, EncodedPrompt]
    responses: Mapping[str, Tensor]
    columns: Mapping[str, float]
    corruptible: bool
    text_starts: Mapping[str, int] = field(default_factory=dict)
    turns: Mapping[str, Tensor] = field(default_factory=dict)
    source: str = ""

    @cached_property
    def image_digests(self) -> Mapping[str, tuple[bytes, ...]]:
        """SHA-256 digests of the images of each condition, in the prompt's order."""
        return {condition: tuple(map(_digest, prompt.images)) for condition, prompt in self.prompts.items()}

    def digest(self, view: View) -> bytes:
        """The SHA-256 digest of everything that a model sees of a view: token ids and image inputs."""
        prompt, response = self.prompts[view.condition], self.responses[view.response]
        digest = hashlib.sha256(b"".join(self.image_digests[view.condition]))
        for ids in (prompt.token_ids, response):
            digest.update(len(ids).to_bytes(8, "little") + _bytes(ids))
        # Rows without these parts keep the digests that they had before the parts existed.
        if prompt.dropped is not None:
            digest.update(b"hidden" + _bytes(prompt.dropped))  # the word is part of stored digests
        if view.response in self.turns:
            digest.update(b"turns" + _bytes(self.turns[view.response]))
        if view.with_prompt:
            digest.update(b"text" + self.text_starts[view.condition].to_bytes(8, "little"))
        return digest.digest()

    def item(self, view: View, image_indices: tuple[int, ...]) -> Item:
        """A view of the row, divided where its score begins; ``image_indices`` are those of the condition's images."""
        prompt, response = self.prompts[view.condition], self.responses[view.response]
        turns = self.turns[view.response] if view.response in self.turns else response.new_ones(len(response))
        if not view.with_prompt:
            return Item(prompt.token_ids, image_indices, response, turns, prompt.dropped)
        read, text = prompt.token_ids.tensor_split([self.text_starts[view.condition]])
        dropped = None if prompt.dropped is None else prompt.dropped[: len(read)]
        scored = _concatenated(text.new_ones(len(text)), turns)
        return Item(read, image_indices, _concatenated(text, response), scored, dropped)


@dataclass(frozen=True)
class Batch:
    """Rows to be scored, on the CPU.

    ``images``: every distinct image of the rows, once. ``image_indices[row][condition]``: indices into ``images`` of
    the images in the prompt, in order. ``digests[view][row]``: equal for two rows only if a model sees the same.
    ``policy_only``: the scorer computes only the policy's log-probs, of all these views. ``left_out``: bad rows that
    were met too late, as indices of the rows to train on, with their problems. ``is_filler``: all rows were bad, so
    this is another one, whose results are not used.
    """

    rows: tuple[EncodedRow, ...]
    images: tuple[ImageInputs, ...]
    image_indices: tuple[Mapping[str, tuple[int, ...]], ...]
    digests: Mapping[View, tuple[bytes, ...]]
    policy_only: bool = False
    left_out: Mapping[int, tuple[Problem, ...]] = field(default_factory=dict)
    is_filler: bool = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @cached_property
    def items(self) -> Mapping[View, tuple[Item, ...]]:
        """The items of each view in ``digests``, one for each row."""
        rows = list(zip(self.rows, self.image_indices, strict=True))
        return {view: tuple(row.item(view, images[view.condition]) for row, images in rows) for view in self.digests}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the rows."""
        return tuple(row.id for row in self.rows)

    @property
    def sources(self) -> tuple[str, ...]:
        """The source of each row; "" for a row of data that is no mixture."""
        return tuple(row.source for row in self.rows)

    @property
    def columns(self) -> Mapping[str, Tensor]:
        """The numeric columns of the rows, each ``(batch,)`` float32, by name."""
        import torch

        return {name: torch.tensor([row.columns[name] for row in self.rows]) for name in self.rows[0].columns}

    @property
    def corruptible(self) -> Tensor:
        """`EncodedRow.corruptible` of each row, ``(batch,)`` bool."""
        import torch

        return torch.tensor([row.corruptible for row in self.rows])

    def has_turns(self, response: str) -> bool:
        """Whether the response of this name is a conversation in any row, so that some tokens may not be scored."""
        return any(response in row.turns for row in self.rows)


def _digest(image: ImageInputs) -> bytes:
    digest = hashlib.sha256()
    for name, values in sorted(image.items()):
        digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode() + _bytes(values))
    return digest.digest()


def _bytes(values: Tensor) -> bytes:
    import torch

    return values.contiguous().view(torch.uint8).numpy().tobytes()


def _concatenated(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts)
