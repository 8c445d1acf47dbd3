"""Backends, and the engines that they start."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar

from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.model import Dtype, LayeredModel, Placement, VisionLanguageModel
from mdpo_core.processes.world import World
from mdpo_core.types.batch import Batch
from mdpo_core.types.engine_state import SavedEngineState, TensorSlice
from mdpo_core.types.kept_memory import KeptMemory, WeightSizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mdpo_core.interfaces.train_options import Train
    from mdpo_core.types.scores import ScorerOutput


class Backend(Component):
    """How a scorer is placed on devices, differentiated and updated, in one process or in several."""

    kind: ClassVar[str] = "backend"
    # True if it can train in several processes.
    multi_process: ClassVar[bool] = False
    # True if it also optimizes the probes of terms, not only the parameters of the model.
    trains_probes: ClassVar[bool] = False
    # True if it updates weights by the optimizer of ``train``; other backends do so by torch's AdamW.
    takes_optimizers: ClassVar[bool] = False

    def check(self, train: Train, world: World) -> None:
        """Raise `RecipeError` if this backend cannot run here: a package is missing, there are too few devices."""
        return

    @abstractmethod
    def placement(self) -> Placement:
        """The device of this process and the dtype with which models are loaded."""

    def compute_device(self, world: World) -> str:
        """The device on which this process computes, as torch names it; another one than `placement`'s if weights move.

        ``world``: this process and the others.
        """
        return self.placement().device

    @property
    def arithmetic(self) -> Literal["float32", "bfloat16", "float16"]:
        """The dtype of matrix products: that of the weights, unless the backend uses autocast."""
        return self.placement().dtype

    def loading(self, train: Train) -> AbstractContextManager[None]:
        """A context in which the policy is loaded, for backends that split weights over processes while loading."""
        return nullcontext()

    @property
    def sends_weights(self) -> bool:
        """Whether `start` and `place_reference` send the weights of a model from the main process to the others.

        The others may then have a model on torch's meta device, as `ModelAdapter.sketch` gives it.
        """
        return False

    @property
    def splits_frozen_copy(self) -> bool:
        """Whether a frozen second model is split, head included, so that the head cannot be called once per chunk."""
        return False

    @property
    def refuses_full_training(self) -> str:
        """Why weights of the model itself may not train in this precision, and what to use; empty: they may.

        Weights of adapters (LoRA) always may: they are kept in float32.
        """
        return ""

    @property
    def scales_gradients(self) -> bool:
        """Whether its engines skip a step whose gradients overflow, and tell so by an infinite norm: see `Engine.step`.

        The gradients of later steps then have a smaller factor.
        """
        return False

    @property
    def refuses_compiling(self) -> str:
        """Why layers cannot be compiled under this backend, and what to use; empty: they can."""
        return ""

    def place_reference(self, model: VisionLanguageModel, train: Train) -> None:
        """Prepare a frozen second model, which was loaded with `placement`, before training starts."""
        return

    def shape_of(self, parameter: Tensor) -> tuple[int, ...]:
        """The shape of the whole parameter, for backends that split it over processes while loading."""
        return tuple(parameter.shape)

    @property
    def computes_in(self) -> Dtype:
        """The dtype of weights while they compute; known without the device."""
        return self.placement().dtype

    @property
    def trains_in(self) -> Dtype | None:
        """The dtype to which the weights that train are cast; None: they stay as they are loaded."""
        return None

    def keeps(self, weights: WeightSizes, train: Train, num_processes: int) -> KeptMemory:
        """What each of ``num_processes`` processes keeps of such a model on its device, activations left out.

        A backend without it trains, but the memory of its runs cannot be estimated.
        """
        raise RecipeError(f"the backend '{self.component_name()}' cannot say how much memory it keeps")

    def keeps_frozen(self, weights: WeightSizes, num_processes: int) -> float:
        """Bytes that each process keeps of a frozen second model."""
        return weights.total.bytes

    @abstractmethod
    def start(self, scorer: TrainableScorer, train: Train) -> Engine:
        """Start an engine that optimizes the scorer's parameters that require gradients.

        They may have different learning rates: see `parameter_groups` and `set_learning_rate`. With several processes,
        torch's process group already exists.
        """


Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainableScorer:
    """What a backend trains.

    ``module``: maps a `Batch` to a `ScorerOutput`. Its parameters that require gradients are optimized. ``model``: the
    model inside it, whose layers a backend may place one by one. ``rate_factors``: learning rates as multiples of the
    run's learning rate, by the names of the parameters of ``module``; the default is 1. Raises `ValueError` for an
    unknown name.
    """

    module: nn.Module
    model: LayeredModel
    rate_factors: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def require(scorer: object) -> None:
        """Raise `TypeError` unless ``scorer`` is a `TrainableScorer`; backends call this before they read it."""
        if not isinstance(scorer, TrainableScorer):
            raise TypeError(
                "a backend trains a TrainableScorer(module, model, rate_factors), which names the model in the module "
                f"and its learning rates; it was given {type(scorer).__name__}"
            )

    def __post_init__(self) -> None:
        unknown = sorted(self.rate_factors.keys() - {name for name, _ in self.module.named_parameters()})
        if unknown:
            raise ValueError(f"rate_factors has names that are not parameters of the scorer: {unknown[:3]}")

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are optimized, by name."""
        return {name: value for name, value in self.module.named_parameters() if value.requires_grad}


class Engine(Protocol):
    """A scorer in training: forward, backward, step, and the state from which a run resumes.

    With several processes, each has an engine, and all of them call the same methods in the same order. The engines
    have the same weights, see different pairs, and use the sum of their gradients.
    """

    def forward(self, batch: Batch, *, last: bool = True) -> ScorerOutput:
        """Token log-probs of every view, under the policy with gradients, and under the reference.

        ``last``: this is the final forward before `step`; gradients may be synchronized in its backward.
        """

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients. ``loss``: a sum over this process's pairs, divided by the pairs of the whole step."""

    def step(self, learning_rate: float) -> float:
        """Sum the gradients of all processes, clip them, update the weights, clear the gradients.

        Returns the gradients' norm before clipping. The weights do not change if this norm is not finite. An infinite
        norm of a backend that `scales_gradients` is no error.
        """

    def using_model(self, function: Callable[[], Result]) -> Result:
        """Call a function that uses the model directly, for example to generate, with access to all weights."""

    def state(self) -> Iterator[TensorSlice]:
        """This process's share of weights and optimizer state, in float32 where the engine keeps float32.

        All processes together give every number once. Names contain those of the scorer's parameters.
        """

    def restore(self, state: SavedEngineState) -> None:
        """Restore what `state` gave, bit for bit, with any number of processes. Every process reads every name."""

    def peak_memory(self) -> float:
        """Peak memory so far, in GB (1e9 bytes): of the device, or of the process on a CPU."""
