"""What an adapter creates: an encoder and a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from mdpo_core.interfaces.parts import Part
from mdpo_core.types.batch import EncodedImage, EncodedPrompt, ImageInputs
from mdpo_core.types.example import Example
from mdpo_core.types.layout import Packed, PaddedView

if TYPE_CHECKING:
    from torch import Tensor, nn


# Hidden states to logits.
Head: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Placement:
    """Where and how a model is loaded: ``device`` as torch writes it, ``dtype`` by its torch name."""

    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True)
class Decoding:
    """How responses are generated: greedily (temperature 0), or drawn from the likeliest tokens that hold ``top_p``."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class Encoder(Protocol):
    """Text and images to model inputs and back. Cheap to copy into a worker process."""

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        """Raises `DataError` if marks and images do not match."""

    def encode_response(self, response: str) -> Tensor:
        """Token ids ``(time,)`` of a response, and of what ends a turn, with the end token last."""

    @property
    def image_token(self) -> int:
        """The token that stands for a piece of an image in ``token_ids``."""

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself, special ones by their names."""

    def decode(self, token_ids: Tensor) -> str:
        """The text of generated tokens, without special tokens."""


class LayeredModel(Protocol):
    """What a backend sees of a model."""

    @property
    def module(self) -> nn.Module:
        """The module that holds all parameters, those that train with ``requires_grad``."""

    def layers(self) -> Sequence[nn.Module]:
        """The layers of the language model, in order: the units of activation checkpointing."""

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        """Names of the parameters of each part."""


class VisionLanguageModel(LayeredModel, Protocol):
    """A loaded model, in the pieces that a scorer puts together."""

    @property
    def hidden_size(self) -> int:
        """The width of the hidden states that the head reads."""

    @property
    def vocab_size(self) -> int:
        """The number of logits for each position."""

    def encode_images(self, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
        """Features of each of at least one image, as `hidden_states` takes them.

        Images may be of different sizes, and those of one shape are best computed together.
        """

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        """The last hidden states ``(batch, time, hidden)`` of right-padded rows.

        ``images`` fill the image tokens in order, row by row.
        """

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        """The last hidden states ``(1, time, hidden)`` of prompts and branches in one row.

        Those at ``packed.read`` count; what stands elsewhere is never looked at. Attention is to be ``packed.attend``,
        or equal to it. Only for adapters with ``shares_prefix``.
        """

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Language-model head: ``(..., hidden)`` to ``(..., vocab)``."""

    def through_head(self, compute: Callable[[Head, Tensor], Tensor], hidden_states: Tensor) -> Tensor:
        """``compute(head, hidden_states)`` in one call of the head's module, however often ``head`` is used in it.

        Backends that keep each weight in parts join them for the time of a call, all processes together; but processes
        have different numbers of tokens, and so of chunks.
        """

    def adapter_disabled(self) -> AbstractContextManager[None]:
        """The model without its trained adapter, inside the ``with``."""

    def set_training(self, training: bool) -> None:
        """Switch adapter dropout. The base model's own dropout stays off either way."""

    def generate(self, prompts: Sequence[EncodedPrompt], decoding: Decoding) -> list[Tensor]:
        """Continuations, ``(time,)`` token ids each, end token not included.

        Greedy ones do not depend on the prompts beside; drawn ones depend on ``decoding.seed`` and the batch alone.
        """

    def export(self, folder: Path, *, merge: bool = False) -> None:
        """Write the trained adapter or the whole model, with its processor, for plain transformers and peft.

        ``merge``: write the whole model, with its LoRA added to the weights; this object is of no use afterwards.
        """
