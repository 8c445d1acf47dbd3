"""What is measured: shapes, the terms that are minimized, and one measurement as its process is told of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

PATCH = 14


class Stack(NamedTuple):
    """A transformer."""

    hidden: int
    intermediate: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Shape:
    """A LLaVA, and the pairs of a step. ``prompt_tokens`` are those besides the image's, begin token included."""

    language: Stack
    vision: Stack
    image_size: int = 336
    vocab_size: int = 32_000
    prompt_tokens: int = 40
    response_tokens: int = 100
    num_pairs: int = 2
    lora_rank: int = 64

    @property
    def image_tokens(self) -> int:
        return (self.image_size // PATCH) ** 2

    @property
    def sequence_tokens(self) -> int:
        return self.image_tokens + self.prompt_tokens + self.response_tokens

    def vocabulary_bytes(self, bytes_per_weight: int = 4) -> int:
        """The weights that grow with the vocabulary: those of the head and of the input embeddings."""
        return 2 * self.vocab_size * self.language.hidden * bytes_per_weight


# LLaVA's proportions: the vision tower has about 4 % of the parameters of the language model's layers.
SMALL = Shape(Stack(512, 1376, 8, 8), Stack(128, 512, 4, 4))
TINY = Shape(
    Stack(64, 128, 2, 4), Stack(32, 64, 2, 2), image_size=56, prompt_tokens=12, response_tokens=16, lora_rank=8
)
LLAVA_7B = Shape(Stack(4096, 11008, 32, 32), Stack(1024, 4096, 24, 16), vocab_size=32_064)
SHAPES = {"small": SMALL, "tiny": TINY, "llava-7b": LLAVA_7B}

# mDPO's three terms, then five more over the same three views: (kind, name, options) of our components.
Term = tuple[str, str, dict[str, Any]]
TERMS: list[Term] = [
    ("loss", "dpo", {"beta": 0.1}),
    ("loss", "dpo", {"beta": 0.1, "over": "chosen@crop"}),
    ("anchor", "reward", {"beta": 0.1, "on": "chosen"}),
    ("loss", "dpo", {"beta": 0.2}),
    ("loss", "dpo", {"beta": 0.2, "over": "chosen@crop"}),
    ("anchor", "reward", {"beta": 0.2, "on": "rejected", "direction": "below"}),
    ("loss", "dpo", {"beta": 0.1, "label_smoothing": 0.1}),
    ("loss", "dpo", {"beta": 0.1, "label_smoothing": 0.1, "over": "chosen@crop"}),
]
NUM_TERMS = 3  # of mDPO
VIEWS = ("chosen", "rejected", "chosen@crop")
CROP = {"area": (0.01, 0.2)}
LEARNING_RATE = 1e-5
DROPOUT = 0.05  # of the shipped recipes' adapters

# Each with its line in `worker.py`; ours, switch by switch, in `ours.py`.
FASTEST = "ours: all"
CONTESTANTS = (
    "paper",
    "trl",
    "ours: plain",
    "ours: + shared prefix",
    "ours: + chunked head",
    "ours: + cached reference",
    FASTEST,
)


@dataclass(frozen=True)
class Job:
    """One measurement, in a process of its own.

    ``num_terms``: with several numbers, steps with each of them take turns. ``dropout``: of the LoRA adapters.
    ``gradients``: where `paper` leaves the
    loss and gradients of its first step, and where the others find them to compare. ``whole_heap``: the C library
    gives freed tensors back at once, so that the peak is what tensors hold, without the holes of its heap. ``workers``:
    of a whole run.
    """

    contestant: str
    shape: Shape
    folder: str
    steps: int
    device: str = "cpu"
    num_terms: tuple[int, ...] = (NUM_TERMS,)
    dropout: float = DROPOUT
    count_flops: bool = False
    gradients: str | None = None
    whole_heap: bool = False
    workers: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        shape = dict(values["shape"])
        shape |= {name: Stack(*shape[name]) for name in ("language", "vision")}
        return cls(**(dict(values) | {"shape": Shape(**shape), "num_terms": tuple(values["num_terms"])}))

    def changed(self, **sizes: Any) -> Job:
        """The same with another shape."""
        return replace(self, shape=replace(self.shape, **sizes))


@dataclass(frozen=True)
class Result:
    """What a process measured; ``error`` says why it did not.

    ``seconds[num_terms]``: one number a step; of the measurement of dropout, ``seconds[per cent]``. Bytes: ``resident``
    right before the first step, ``peak`` from there on. ``flops``: of one step of the first of the numbers of terms;
    ``flops_per_second``: of the machine's own matrix product, whose process also says what ``machine`` that is.
    ``cache_seconds``: of computing and storing the reference of one step's pairs. ``differences`` from `paper` in the
    first step: of the loss, relative, and of the gradients, relative to the largest. ``data_wait``: share of a whole
    run's time.
    """

    seconds: Mapping[int, list[float]] = field(default_factory=dict)
    resident: int = 0
    peak: int = 0
    flops: int | None = None
    flops_per_second: float | None = None
    cache_seconds: float | None = None
    differences: tuple[float, float] | None = None
    data_wait: float | None = None
    machine: str = ""
    error: str | None = None

    def median(self, num_terms: int = NUM_TERMS) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds[num_terms])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        # JSON makes text of the keys.
        return cls(**(dict(values) | {"seconds": {int(key): found for key, found in values["seconds"].items()}}))
