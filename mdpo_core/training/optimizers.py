"""The recipe's optimizer in an engine: its updates, what it remembers, and whether it fits the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import PluginError, RecipeError, shown
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend, TrainableScorer
from mdpo_core.interfaces.optimizer import Optimizer, TrainedWeights, hidden_matrices
from mdpo_core.training.optimization import parameter_groups, set_learning_rate
from mdpo_core.types.engine_state import SavedEngineState, TensorSlice, whole_tensor

if TYPE_CHECKING:
    import torch

    from mdpo_core.interfaces.train_options import Train

_NUMBER = ".number"  # ends the name of what is no tensor in an optimizer's state


def require_fitting_optimizer(adapter: ModelAdapter, backend: Backend, train: Train) -> None:
    """Raise `RecipeError` for an optimizer of matrices if none of the model's trains. Reads no weights."""
    optimizer = train.chosen_optimizer
    if not optimizer.needs_matrices or type(adapter).sketch is ModelAdapter.sketch:
        return
    from mdpo_core.memory.simulation import sizes_of

    if not sizes_of(adapter.sketch(backend.computes_in)).matrices.numbers:
        raise RecipeError(_without_matrices(optimizer))


def _without_matrices(optimizer: Optimizer) -> str:
    return (
        f"train.optimizer: '{optimizer.component_name()}' is for matrices of hidden layers, and none of this model's "
        "trains; use adamw, or let more of the model train (model.parts, model.lora)"
    )


class Updates:
    """The torch optimizers of a run's `Optimizer`, as one, for an engine in which parameters are whole.

    ``device``: where the parameters are, as torch names it.
    """

    def __init__(self, scorer: TrainableScorer, train: Train, device: str) -> None:
        optimizer = train.chosen_optimizer
        weights = TrainedWeights(parameter_groups(scorer, train), hidden_matrices(scorer.module))
        self._trained = scorer.trained
        if optimizer.needs_matrices and not weights.split()[0].groups:
            raise RecipeError(_without_matrices(optimizer))
        self.parts: tuple[torch.optim.Optimizer, ...] = tuple(optimizer.start(weights, train, device))
        self._name = type(optimizer).__name__
        self._require_each_once()

    def _require_each_once(self) -> None:
        updated = [id(parameter) for group in self.param_groups for parameter in group["params"]]
        if sorted(updated) != sorted(map(id, self._trained.values())):
            raise PluginError(
                f"the optimizer {self._name} must update each parameter once; it was given {len(self._trained)}, and "
                f"updates {len(set(updated))}, {len(updated)} times in all"
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all of them."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self, learning_rate: float) -> None:
        """Update the weights by their gradients."""
        for part in self.parts:
            set_learning_rate(part, learning_rate)
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def state(self, name: str) -> Iterator[TensorSlice]:
        """What is remembered of the parameter ``name``, as `Engine.state` gives it."""
        parameter = self._trained[name]
        for part in self.parts:
            for kind, value in sorted(part.state.get(parameter, {}).items()):
                yield self._slice(kind, name, value)

    def _slice(self, kind: str, name: str, value: object) -> TensorSlice:
        import torch

        if isinstance(value, torch.Tensor):
            return whole_tensor(f"{kind}:{name}", value)
        if type(value) is int or type(value) is float:
            dtype = torch.int64 if type(value) is int else torch.float64
            return whole_tensor(f"{kind}{_NUMBER}:{name}", torch.tensor(value, dtype=dtype))
        raise PluginError(
            f"the optimizer {self._name} keeps {shown(value)} as '{kind}' of a parameter; checkpoints hold tensors, "
            "int and float"
        )

    def restore(self, state: SavedEngineState) -> None:
        """Take up what `state` gave, by the optimizers' own rules of where each thing belongs."""
        saved = {id(parameter): _remembered(state, name) for name, parameter in self._trained.items()}
        for part in self.parts:
            groups = part.state_dict()["param_groups"]
            numbers = [number for group in groups for number in group["params"]]
            parameters = [parameter for group in part.param_groups for parameter in group["params"]]
            pairs = zip(numbers, parameters, strict=True)
            found = {number: saved[id(parameter)] for number, parameter in pairs if saved[id(parameter)]}
            part.load_state_dict({"state": found, "param_groups": groups})


def _remembered(state: SavedEngineState, name: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for kind in state.kinds_of(name):
        if kind == "weight":
            continue
        value = state.as_saved(f"{kind}:{name}")
        if kind.endswith(_NUMBER):
            found[kind.removesuffix(_NUMBER)] = value.item()
        else:
            found[kind] = value
    return found
