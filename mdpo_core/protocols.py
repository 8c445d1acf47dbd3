"""What components create: the objects that hold memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from mdpo_core.batch import Batch, EncodedImage, EncodedPrompt, ImageInputs
from mdpo_core.example import Example
from mdpo_core.layout import Packed, PaddedView
from mdpo_core.parts import Part
from mdpo_core.state import SavedEngineState, TensorSlice

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mdpo_core.components import Reader
    from mdpo_core.scores import ScorerOutput

# Hidden states to logits.
Head: TypeAlias = "Callable[[Tensor], Tensor]"
Result = TypeVar("Result")


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


class StoredRows(Protocol):
    """Rows with all that is stored in them, for commands that write them anew with other responses.

    What `Reader.open` gives may have one as its attribute ``as_stored``; other rows are written as their examples are.
    """

    @property
    def embeds_images(self) -> bool:
        """Whether pictures are stored in the rows, and not in files that these name."""

    def stored(self, index: int) -> dict[str, Any]:
        """The columns of a row, as JSON holds them; embedded pictures are left out. Raises `DataError`."""

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The columns that hold these responses, by name, and what they are to hold.

        ``images``: the names of files of what was embedded, by the name of the picture; "" is the row's own images'.
        """

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Reader:
        """What reads of a JSONL file of such rows these responses and numeric columns, and no others.

        ``images``: the folder of what was embedded.
        """


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


@dataclass(frozen=True)
class TrainableScorer:
    """What a backend trains.

    ``module``: takes a `Batch` and gives a `ScorerOutput`; its parameters that require gradients are optimized.
    ``model``: the model in it, whose layers a backend may place one by one. ``rate_factors``: learning rates as
    multiples of the run's, by the names of ``module``'s parameters; others have the run's. Raises `ValueError` for an
    unknown name.
    """

    module: nn.Module
    model: LayeredModel
    rate_factors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(self.rate_factors.keys() - {name for name, _ in self.module.named_parameters()})
        if unknown:
            raise ValueError(f"rate_factors has names that are not parameters of the scorer: {unknown[:3]}")

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are optimized, by name."""
        return {name: value for name, value in self.module.named_parameters() if value.requires_grad}


class Engine(Protocol):
    """A scorer under training: forward, backward, step, and the state that resuming needs.

    A run of several processes has an engine in each, and calls the same methods of all of them in the same order. They
    hold the same weights, see different pairs, and learn from the sum of their gradients.
    """

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        """Token log-probs of every view, under the policy with gradients, and under the reference.

        ``last``: no other forward follows before `step`, so that gradients may be exchanged while they are made.
        """

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``: a sum over pairs of this process, divided by the pairs of the whole step."""

    def step(self, learning_rate: float) -> float:
        """Sum the gradients of all processes, clip, update, clear gradients; gives the norm before clipping.

        The weights stay as they are if that norm is not finite.
        """

    def using_model(self, function: Callable[[], Result]) -> Result:
        """Call a function that runs parts of the model on its own, such as to generate, with the weights in reach."""

    def state(self) -> Iterator[TensorSlice]:
        """This process's share of weights and optimizer state, as float32 where they are kept so.

        Over all processes, every number once. Names are those of the scorer's parameters.
        """

    def restore(self, state: SavedEngineState) -> None:
        """Take what `state` gave, in whichever processes; to the bit. Every process reads every name."""

    def peak_memory(self) -> float:
        """Peak memory so far, in GB (1e9 bytes): of the device, or of the process on a CPU."""


class Policy(Protocol):
    """The model as an evaluator sees it."""

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        """Responses to the examples' prompts, greedy ones, or drawn with a temperature and the run's seed."""

    def metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        """The objective and its metrics (as in metrics.jsonl) on examples, without gradients.

        For evaluators that say ``needs_reference``.
        """


class TrackerLog(Protocol):
    """An open log."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step, among them ``epoch``."""

    def close(self) -> None:
        """Finish writing."""
