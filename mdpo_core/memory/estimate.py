"""What a run's step needs on each device: by kind, by phase, at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from mdpo_core.interfaces.model import Depth
from mdpo_core.interfaces.train_options import Train
from mdpo_core.memory.simulation import Step, Trial
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import Batch
from mdpo_core.types.kept_memory import Amount, WeightSizes

_FEW = 2  # layers: the last one computes less, and one more shows what the others do


@dataclass(frozen=True)
class Estimate:
    """Bytes of tensors on the device of one process, in a step with ``pairs`` pairs in a micro-batch.

    ``weights``: of the model, with its buffers, such as the copy of an adapter that trains on. ``reference``: a frozen
    second model. ``passing``: weights and gradients that are whole only while they are used.
    ``activations`` are kept from forward to backward; ``logits`` are there at most, within the forward.
    ``phases``: all bytes at most, in forward, backward and update.
    """

    pairs: int
    weights: float
    reference: float
    gradients: float
    optimizer: float
    passing: float
    activations: float
    logits: float
    phases: Mapping[str, float]

    @property
    def peak(self) -> float:
        """Bytes at most."""
        return max(self.phases.values())

    @property
    def where(self) -> str:
        """The phase with the peak."""
        return max(self.phases, key=self.phases.__getitem__)


class Estimator:
    """Estimates steps of a recipe's model. Reads no weights.

    Runs the model's own code on weights without numbers, with a few layers, and draws a line through two depths: all
    layers of a kind need the same. ``on_gpu``: with the attention that a GPU has. Raises `RecipeError` for an adapter
    that cannot say its sizes.
    """

    def __init__(self, recipe: Recipe, *, on_gpu: bool = True) -> None:
        self._backend = recipe.backend
        self._on_gpu = on_gpu
        depth = recipe.model.depth
        tried = depths_to_try(depth, _every(recipe))
        self._line = _Line(tried, depth.layers)
        self._trials = [Trial(recipe, each, on_gpu=on_gpu) for each in tried]

    def estimate(self, batch: Batch, train: Train, num_processes: int) -> Estimate:
        """Estimate a step of ``batch`` in each of ``num_processes`` processes, trained as ``train`` says.

        Raises `RecipeError` for a backend that cannot say what it keeps.
        """
        kept = self._backend.keeps(self._line.sizes([trial.weights for trial in self._trials]), train, num_processes)
        step = self._line.step([trial.step(batch, frees_gradients=kept.frees_gradients) for trial in self._trials])
        weights = kept.weights + self._line.at([trial.buffers for trial in self._trials])
        reference = self._reference(num_processes)
        update = kept.update if self._on_gpu else kept.update + 2 * kept.widest_update
        stays = weights + kept.optimizer + reference
        computing = stays + kept.passing + (0 if kept.frees_gradients else kept.gradients)
        return Estimate(
            pairs=len(batch),
            weights=weights,
            reference=reference,
            gradients=kept.gradients,
            optimizer=kept.optimizer,
            passing=kept.passing,
            activations=step.activations,
            logits=step.logits,
            phases={
                "forward": computing + step.forward,
                "backward": computing + kept.backward + step.backward,
                "update": stays + kept.gradients + update,
            },
        )

    def _reference(self, num_processes: int) -> float:
        copies = [trial.reference for trial in self._trials if trial.reference is not None]
        return self._backend.keeps_frozen(self._line.sizes(copies), num_processes) if copies else 0.0


def depths_to_try(depth: Depth, every: int) -> tuple[int, ...]:
    """Two depths of which the whole model's memory follows in a line; one, the whole model's, if it is no deeper.

    ``every``: each n-th layer is computed again in backward.
    """
    period = depth.period * every
    # Whole periods lie between these depths and the whole model, so that all of them are on the line.
    least = max(_FEW, depth.special)
    first = least + (depth.layers - least) % period
    second = first + period * -(-_FEW // period)
    return (first, second) if second < depth.layers else (depth.layers,)


def _every(recipe: Recipe) -> int:
    which = recipe.scoring.activation_checkpointing
    return which if isinstance(which, int) else 1


class _Line(NamedTuple):
    """A line through the values at the ``tried`` depths, read at ``depth``."""

    tried: Sequence[int]
    depth: int

    def at(self, values: Sequence[float]) -> float:
        """The value at ``depth``."""
        if len(values) == 1:
            return values[0]
        first, second = self.tried
        return values[0] + (values[1] - values[0]) / (second - first) * (self.depth - first)

    def step(self, steps: Sequence[Step]) -> Step:
        """The step of the whole model."""
        return Step(*(self.at(values) for values in zip(*steps, strict=True)))

    def sizes(self, sizes: Sequence[WeightSizes]) -> WeightSizes:
        """The sizes of the whole model."""
        named = {each.name: [getattr(size, each.name) for size in sizes] for each in fields(WeightSizes)}
        return WeightSizes(
            **{
                name: Amount(*(self.at(values) for values in zip(*amounts, strict=True)))
                for name, amounts in named.items()
            }
        )
