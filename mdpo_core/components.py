"""The kinds of component that plugins offer and recipes name.

A component is its own configuration: a frozen pydantic model whose fields are its options. What holds memory (a
loaded model, an engine, open data) is an object of a protocol in `mdpo_core.protocols` that a component creates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mdpo_core.errors import PluginError
from mdpo_core.example import Example, ExampleField
from mdpo_core.parts import Lora, Part, Parts, PartTraining, problems_of, training_of
from mdpo_core.protocols import (
    Encoder,
    Engine,
    Placement,
    Policy,
    TrackerLog,
    TrainableScorer,
    VisionLanguageModel,
)
from mdpo_core.world import World

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.train_options import Train


class Component(BaseModel, ABC):
    """Something a recipe names: ``{<kind>: <name>, <option>: <value>, ...}``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]
    _component_name: ClassVar[str | None] = None

    @classmethod
    def component_name(cls) -> str:
        """The name that recipes use for this class: the first one under which it was offered or registered.

        A subclass does not inherit it. Raises `PluginError` for a class without a name.
        """
        name: str | None = cls.__dict__.get("_component_name")
        if name is None:
            raise PluginError(
                f"the class {cls.__name__} has no name that a recipe could use: give it one with "
                f'register("mine", {cls.__name__}), or offer it in a plugin'
            )
        return name

    @classmethod
    def has_name(cls) -> bool:
        """Whether this class was offered by a plugin or registered."""
        return cls.__dict__.get("_component_name") is not None

    @classmethod
    def set_component_name(cls, name: str) -> None:
        """Called by the registry, once for each name; the first one stays."""
        if not cls.has_name():
            cls._component_name = name

    def __getstate__(self) -> dict[Any, Any]:
        """Also the name: another process may have discovered no plugin."""
        return {**super().__getstate__(), "component_name": self.__class__.__dict__.get("_component_name")}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        name = state.pop("component_name")
        if name is not None:
            self.set_component_name(name)
        super().__setstate__(state)


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

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        """The names that rows have in each field of `Example`, those of absent fields being none.

        What a recipe needs besides is then refused before any row is read. None: only the rows can tell.
        """
        return None

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str | None:
        """What to set so that rows have ``name`` in ``field``: ``data.columns: [score]``; None if nothing does."""
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
        return any(each.mode == "lora" for each in self.training.values())

    @property
    def trains_images(self) -> bool:
        """Whether anything before the language model trains."""
        return any(self.training[part].mode != "frozen" for part in ("vision", "projector"))

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
    def start(self, scorer: TrainableScorer, train: Train) -> Engine:
        """Wrap the scorer, and optimize its parameters that require gradients.

        They may have different learning rates: see `parameter_groups` and `set_learning_rate`.

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
