"""The kinds of component that plugins offer and recipes name.

A component is its own configuration: a frozen pydantic model whose fields are its options. What holds memory (a
loaded model, an engine, open data) is an object of a protocol in `mdpo_core.protocols` that a component creates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mdpo_core.example import Example, NamedPart
from mdpo_core.parts import Lora, Parts, PartTraining, problems_of, training_of
from mdpo_core.probes import Probe
from mdpo_core.protocols import Encoder, Engine, Part, Placement, Policy, TrackerLog, VisionLanguageModel
from mdpo_core.scores import Scores, Statistic
from mdpo_core.view import CHOSEN, REJECTED, View, with_prompt
from mdpo_core.world import World

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mdpo_core.recipe import Train


class Component(BaseModel, ABC):
    """Something a recipe names: ``{<kind>: <name>, <option>: <value>, ...}``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]


class Reader(Component):
    """Where examples come from."""

    kind: ClassVar[str] = "reader"
    bad_rows: Literal["stop", "quarantine"] = Field(
        default="stop",
        description="stop before training, or list bad rows in quarantine.jsonl and train on the rest",
    )

    @abstractmethod
    def open(self) -> Sequence[Example]:
        """The rows, read when indexed. Raises `DataError` here if the source is missing, and on a row that is bad."""

    def gives(self) -> Mapping[NamedPart, Collection[str]] | None:
        """The names that rows have in each field of `Example`, those of absent fields being none.

        What a recipe needs besides is then refused before any row is read. None: only the rows can tell.
        """
        return None

    @classmethod
    def option_for(cls, part: NamedPart, name: str) -> str | None:
        """What to set so that rows have a name: ``data.columns: [score]``. None: this reader has no way to give it."""
        return None


class ModelAdapter(Component):
    """What differs between models: prompt and image tokens, named parts, what trains, export."""

    kind: ClassVar[str] = "adapter"
    lora: Lora | None = Field(
        default=None, description="train adapters of this kind beside the language model; absent: train the weights"
    )
    freeze: tuple[Part, ...] = Field(
        default=(), description="parts that do not train: vision, projector, language; without LoRA only"
    )
    parts: Parts = Field(default=Parts(), description="what a single part does otherwise, and its learning rate")
    max_length: int = Field(default=2048, gt=0, description="tokens of the longest sequence, image tokens included")

    # Options that do not change what the untrained model gives. A path is one where `files` says what lies there.
    only_training: ClassVar[frozenset[str]] = frozenset({"lora", "freeze", "parts", "max_length"})

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        problems = list(problems_of(self.lora, self.freeze, self.parts))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def training(self) -> Mapping[Part, PartTraining]:
        """How each part trains; `load` does what it says."""
        return training_of(self.lora, self.freeze, self.parts)

    @property
    def has_lora(self) -> bool:
        """Whether there is an adapter, which can be switched off and merged."""
        return any(each.how == "lora" for each in self.training.values())

    @property
    def trains_images(self) -> bool:
        """Whether anything before the language model trains."""
        return any(self.training[part].how != "frozen" for part in ("vision", "projector"))

    @abstractmethod
    def check(self) -> None:
        """Find the model's files without loading them; `DataError` says what is missing or unfit."""

    def files(self) -> Sequence[Path]:
        """The files that model and encoder are loaded from; a run's manifest holds their digests."""
        return ()

    @property
    def shares_prefix(self) -> bool:
        """Whether the loaded model can compute a prompt once for all its responses (``packed_hidden_states``)."""
        return False

    @abstractmethod
    def encoder(self) -> Encoder:
        """What turns examples into token ids and image inputs; loads no weights."""

    @abstractmethod
    def load(self, placement: Placement, *, trainable: bool = True) -> VisionLanguageModel:
        """Load the model; with ``trainable=False`` as a frozen reference, without LoRA."""

    @abstractmethod
    def load_exported(self, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
        """Load what a model of this adapter exported, as whoever is given the folder does.

        Parameters have the names of `load`; those of a merged model may have others. `DataError` names what is
        missing.
        """

    @property
    def unquantized(self) -> ModelAdapter:
        """The adapter of the same model with all weights in the placement's type: what can be exported and merged."""
        return self


class Term(Component):
    """One summand of an objective, called with `Scores`, giving ``(batch,)`` nats, lower is better."""

    needs_reference: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    # True for one whose value of a pair depends on the pairs beside it: micro-batches and processes have a part in it.
    compares_pairs: ClassVar[bool] = False
    weight: float = Field(default=1.0, ge=0, description="factor of this term in the objective")
    label: str | None = Field(
        default=None,
        pattern=r"^[\w:.@-]+$",
        description="the term's name in metrics; default: position and name",
    )

    @abstractmethod
    def views(self) -> tuple[View, ...]:
        """The views that this term reads."""

    def columns(self) -> tuple[str, ...]:
        """The data columns that this term reads."""
        return ()

    def check_columns(self, scores: Scores) -> None:
        """Raise `DataError` where values make no sense, naming ``scores.ids``.

        Every row is tried before training, in ``scores`` that hold columns and nothing else.
        """
        return

    def statistics(self) -> Mapping[str, Statistic]:
        """What this term reads of whole distributions, by name: ``scores.statistics[name][view]``, ``(batch, time)``.

        They are computed a few tokens at a time, so that no tensor of all logits is ever held.
        """
        return {}

    def probes(self) -> Mapping[str, Probe]:
        """Modules of this term's own, by name: ``scores.probes[name][view]``, ``(batch, time, outputs)``."""
        return {}

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        """What this term reads the running mean of, by name: ``scores.running[name]``, a number.

        Each function gives ``(batch,)``, one value a pair. The mean is over all pairs of all finished steps, in all
        processes; it is 0 in the first step, and checkpoints keep it.
        """
        return {}

    @property
    def reads_reference(self) -> bool:
        """Whether this term, or what it has computed besides, needs a reference."""
        return (
            self.needs_reference
            or any(each.needs_reference for each in self.statistics().values())
            or any(each.reads == "reference" for each in self.probes().values())
        )

    @abstractmethod
    def __call__(self, scores: Scores) -> Tensor:
        """The loss of each pair, ``(batch,)``, nats, before ``weight``."""


class Loss(Term):
    """A term that compares views."""

    kind: ClassVar[str] = "loss"


class PairLoss(Loss):
    """A loss that prefers one view over another."""

    prefer: View = Field(default=CHOSEN, description="the view to be preferred")
    over: View = Field(default=REJECTED, description="the view it is preferred over")
    scope: Literal["response", "prompt_and_response"] = Field(
        default="response",
        description="what of both views is scored; with the prompt, from the first word behind its images on (JPO)",
    )

    @model_validator(mode="before")
    @classmethod
    def _score_prompts(cls, options: Any) -> Any:
        """``scope`` is short for ``prompt+`` before both views."""
        if not isinstance(options, dict) or options.get("scope") != "prompt_and_response":
            return options
        views = {name: options.get(name, cls.model_fields[name].default) for name in ("prefer", "over")}
        return options | {name: with_prompt(view) for name, view in views.items()}

    def views(self) -> tuple[View, ...]:
        return (self.prefer, self.over)


class Anchor(Term):
    """A term that holds one view near an absolute level."""

    kind: ClassVar[str] = "anchor"
    on: View = Field(default=CHOSEN, description="the view that is held")

    def views(self) -> tuple[View, ...]:
        return (self.on,)


class Backend(Component):
    """How a scorer is placed on devices, differentiated and stepped, in one process or in several."""

    kind: ClassVar[str] = "backend"
    multi_process: ClassVar[bool] = False
    # True for one that optimizes whatever trains in a scorer: a term's probes, too.
    trains_probes: ClassVar[bool] = False

    def check(self, train: Train, world: World) -> None:
        """Raise `RecipeError` with what stands in this backend's way here: a missing package, too few devices."""
        return

    @abstractmethod
    def placement(self) -> Placement:
        """Device (of this process) and dtype that models are loaded with."""

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16", "float16"]:
        """What matrix products are computed in: the weights' type, unless a backend casts (autocast)."""
        return self.placement().dtype

    def loading(self, train: Train) -> AbstractContextManager[None]:
        """What the policy is loaded within, for backends that share weights out while they are read."""
        return nullcontext()

    @property
    def splits_frozen_copy(self) -> bool:
        """Whether a frozen second model is cut up to its head, which then cannot be called once for each chunk."""
        return False

    def place_reference(self, model: VisionLanguageModel, train: Train) -> None:
        """Make a frozen second model fit, before training starts; it has been loaded by `placement`."""
        return

    def shape_of(self, parameter: Tensor) -> tuple[int, ...]:
        """The shape of a whole parameter, for backends that share it out while it is loaded."""
        return tuple(parameter.shape)

    @abstractmethod
    def start(self, scorer: nn.Module, train: Train) -> Engine:
        """Wrap the scorer (`Batch` in, `Scored` out); its parameters that require gradients are what is optimized.

        Not all at one learning rate: see `parameter_groups` and `set_learning_rate`.

        Where there are several processes, torch's process group has been set up.
        """


class Evaluator(Component):
    """A measurement of the policy, at the start, at the end and every ``every`` steps."""

    kind: ClassVar[str] = "evaluator"
    # True for one that asks for `Policy.metrics`: those of examples that are not trained on need a reference's forward.
    needs_reference: ClassVar[bool] = False
    every: int | None = Field(default=None, gt=0, description="steps between evaluations; default: start and end only")

    @abstractmethod
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        """Metrics by name. Pictures and tables may be written into ``folder``, the run directory."""


class Tracker(Component):
    """A place that metrics are sent to, besides ``metrics.jsonl``."""

    kind: ClassVar[str] = "tracker"

    @abstractmethod
    def start(self, folder: Path) -> TrackerLog:
        """Begin to log, or go on after a resume; files go into ``folder``, the run directory."""
