"""What a backend keeps of a model on each device: its answer, and what it is told of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Amount(NamedTuple):
    """Some weights: how many ``numbers`` they are, and the ``bytes`` that they take as loaded."""

    numbers: float = 0
    bytes: float = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.numbers + other.numbers, self.bytes + other.bytes)


_NOTHING = Amount()


@dataclass(frozen=True)
class WeightSizes:
    """The weights of a model, each once.

    ``layer``: those of the largest layer, of the language model or of the vision encoder. ``outside``: those in no
    layer, such as the embeddings and the head; ``trained_outside``: those of them that train. ``widest``: those of the
    largest tensor that trains. ``matrices``: those that train and are matrices of hidden layers. ``edges``: a number
    for each row and each column of the matrices that train, and for each number of the other tensors.
    """

    trained: Amount
    frozen: Amount
    layer: Amount
    outside: Amount
    trained_outside: Amount
    widest: Amount
    matrices: Amount = _NOTHING
    edges: Amount = _NOTHING

    @property
    def total(self) -> Amount:
        """All weights."""
        return self.trained.plus(self.frozen)


class OptimizerMemory(NamedTuple):
    """Bytes on the device for the optimizer of a whole model.

    ``state`` stays from step to step. ``update``: what an update makes besides. ``widest_update``: as `KeptMemory` has
    it, for optimizers whose kernels are fused on a GPU.
    """

    state: float
    update: float = 0
    widest_update: float = 0


class KeptMemory(NamedTuple):
    """Bytes on the device of one process.

    ``weights``, ``gradients`` and ``optimizer`` stay from step to step. ``passing``: what is whole only while it
    computes, in forward and backward; ``backward``: what is there in backward alone. ``update``: what the optimizer
    makes besides on a GPU, where its kernels are fused; on a CPU it makes two more tensors as large as
    ``widest_update``, the largest tensor that it updates. ``frees_gradients``: gradients exist only from backward to
    update, so that they never meet the activations of a forward.
    """

    weights: float
    gradients: float
    optimizer: float
    passing: float = 0
    backward: float = 0
    update: float = 0
    widest_update: float = 0
    frees_gradients: bool = False
