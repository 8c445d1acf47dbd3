"""What an adapter creates: an encoder and a loaded model, and what they need to know for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from mdpo_core.interfaces.parts import Part
from mdpo_core.types.batch import EncodedImage, EncodedPrompt, ImageInputs
from mdpo_core.types.example import Example
from mdpo_core.types.layout import Packed, PaddedView

if TYPE_CHECKING:
    from torch import Tensor, nn


# The language-model head: hidden states ``(..., hidden)`` to logits ``(..., vocab)``.
Head: TypeAlias = "Callable[[Tensor], Tensor]"


# A type of numbers, as torch calls it.
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Placement:
    """Where and how a model is loaded: ``device`` as torch writes it, such as ``cuda:0``, and ``dtype``."""

    device: str = "cpu"
    dtype: Dtype = "float32"


class Depth(NamedTuple):
    """The number of ``layers`` of a language model, and the ``period`` after which their kinds repeat.

    ``special``: how many of the first layers do more than the others of their kind.
    """

    layers: int
    period: int = 1
    special: int = 0


@dataclass(frozen=True)
class Decoding:
    """How responses are generated: greedily (temperature 0), or sampled from the likeliest tokens.

    ``top_p``: those tokens have at least this probability together. ``max_new_tokens``: for each response.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class Encoder(Protocol):
    """Converts text and images to model inputs, and tokens to text. Can be pickled cheaply for worker processes.

    An encoder may also have ``problems_of_texts(example) -> list[str]``: a sentence for each text of a row that nobody
    means to train on, such as a prompt in the format of another model, and for each video whose frames do not fit
    together. The check of the data calls it.
    """

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        """The encoded prompt of an example. Raises `DataError` if its marks and images do not match."""

    def encode_response(self, response: str) -> Tensor:
        """Token ids ``(time,)`` int64 of a response and of the end of its turn; the end token is last."""

    @property
    def image_token(self) -> int:
        """The id of the token that stands for a patch of an image in ``token_ids``."""

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself; special tokens by their names."""

    def decode(self, token_ids: Tensor) -> str:
        """The text of generated tokens ``(time,)``, without special tokens."""


class LayeredModel(Protocol):
    """A model as a backend sees it."""

    @property
    def module(self) -> nn.Module:
        """The module with all parameters. Those that train have ``requires_grad``."""

    def layers(self) -> Sequence[nn.Module]:
        """The layers of the language model, in order: the units of activation checkpointing."""

    def parts(self) -> Mapping[Part, tuple[str, ...]]:
        """The names of the parameters of each part."""


class Routing(NamedTuple):
    """How a mixture of experts chooses those of each token.

    ``routers``: modules whose output, or the tensor number ``output`` of it, is the logit of each expert, ``(tokens,
    experts)``.
    """

    routers: Sequence[nn.Module]
    experts_per_token: int
    output: int = 0


class VisionLanguageModel(LayeredModel, Protocol):
    """A loaded model, as separate steps that a scorer combines."""

    @property
    def hidden_size(self) -> int:
        """The number of features of the hidden states that the head reads."""

    @property
    def vocab_size(self) -> int:
        """The number of logits for each position."""

    def encode_images(self, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
        """The features of each image, as `hidden_states` takes them. There is at least one image.

        Images may have different sizes. It is fastest to compute images of the same shape together.
        """

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        """The last hidden states, ``(batch, time, hidden)``, of right-padded rows.

        ``images`` fill the image tokens in order, row by row.
        """

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        """The last hidden states, ``(1, time, hidden)``, of prompts and branches in one row.

        Only the positions in ``packed.read`` have to be correct. Attention must be equal to ``packed.attend``. Only for
        adapters with ``shares_prefix``.
        """

    def logits(self, hidden_states: Tensor) -> Tensor:
        """The language-model head: hidden states ``(..., hidden)`` to logits ``(..., vocab)``."""

    def through_head(self, compute: Callable[[Head, Tensor], Tensor], hidden_states: Tensor) -> Tensor:
        """``compute(head, hidden_states)``, in one call of the head's module, even if ``compute`` calls ``head`` often.

        Backends that split each weight over processes gather it for each call, in all processes together. But processes
        have different numbers of tokens, and so of chunks.
        """

    def input_embeddings(self) -> nn.Module:
        """The module that turns token ids into embeddings ``(batch, time, width)``; for adapters with `takes_noise`."""

    def routing(self) -> Routing:
        """How experts are chosen; for adapters with `has_routers`. `packed_hidden_states` routes all of ``read``."""

    def adapter_disabled(self) -> AbstractContextManager[None]:
        """Be the model before training inside the ``with``: LoRA is off, or what it was when it started."""

    def set_training(self, training: bool) -> None:
        """Switch the dropout of LoRA on or off. The dropout of the base model is always off."""

    def generate(self, prompts: Sequence[EncodedPrompt], decoding: Decoding) -> list[Tensor]:
        """The continuation of each prompt: token ids ``(time,)``, without the end token.

        Greedy continuations do not depend on the other prompts. Sampled ones depend only on ``decoding.seed`` and the
        prompts.
        """

    def export(self, folder: Path, *, merge: bool = False) -> None:
        """Write the LoRA weights or the whole model, with its processor, for plain transformers and peft.

        ``merge``: write the whole model, with its LoRA added to the weights; do not use this object afterwards.
        """
