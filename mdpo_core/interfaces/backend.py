"""Backends and the engines that they start."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.model import LayeredModel, Placement, VisionLanguageModel
from mdpo_core.processes.world import World
from mdpo_core.types.batch import Batch
from mdpo_core.types.engine_state import SavedEngineState, TensorSlice

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mdpo_core.interfaces.train_options import Train
    from mdpo_core.types.scores import ScorerOutput


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


Result = TypeVar("Result")


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
