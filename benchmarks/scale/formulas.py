"""Bytes that a rank sends in a step, and bytes of weights, gradients and optimizer state that it keeps.

Rings (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md): of a tensor of B bytes among N ranks, each
sends (N - 1) / N * B to gather it or to reduce and scatter it, and twice that to reduce it for all. Stages:
arXiv:1910.02054 (ZeRO), arXiv:2304.11277 (FSDP); what a library does otherwise is said at its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.scale.parts import Parts


class Widths(NamedTuple):
    """Bytes of a number: of weights that are frozen or train, as they are kept and as they are gathered, and so on.

    ``state``: AdamW's two moments, and a float32 copy of the weight where there is one.
    """

    frozen: int
    trained: int
    gathered_frozen: int
    gathered: int
    gradient: int
    sent_gradient: int
    state: int


FP32 = Widths(4, 4, 4, 4, 4, 4, 8)
# LoRA's weights in float32 beside bfloat16 ones.
LORA_BF16 = Widths(2, 4, 2, 4, 4, 4, 8)
FSDP_MIXED = Widths(4, 4, 2, 2, 4, 4, 8)
ZERO_FP32 = Widths(4, 4, 4, 4, 4, 4, 12)
ZERO_BF16 = Widths(2, 2, 2, 2, 4, 2, 12)


@dataclass(frozen=True)
class Setting:
    """A model among ``world`` ranks. ``reference``: forwards of the same weights beside the policy's (adapter off).

    ``recompute``: activations are computed again in backward.
    """

    parts: Parts
    widths: Widths
    world: int
    micro_batches: int
    reference: int = 0

    @property
    def trained(self) -> int:
        return self.parts.all.trained

    @property
    def weights(self) -> int:
        """Bytes of all weights, as they are kept."""
        return self.parts.all.frozen * self.widths.frozen + self.trained * self.widths.trained


class Traffic(NamedTuple):
    """Bytes of the tensors that collectives of a step work on."""

    gathered: float = 0
    scattered: float = 0
    reduced: float = 0

    def sent(self, world: int, gloo: bool = False) -> float:
        """By each rank. gloo has no reduce-scatter: torch reduces for all ranks, and each keeps its part."""
        ring = (world - 1) / world
        return ring * (self.gathered + (2 if gloo else 1) * self.scattered + 2 * self.reduced)


class Kept(NamedTuple):
    """Bytes of a rank, and the most that it holds besides while a step is computed, activations apart."""

    weights: float
    gradients: float
    state: float
    passing: float = 0

    @property
    def lasting(self) -> float:
        return self.weights + self.gradients + self.state


class Stage(NamedTuple):
    """A backend and its options, with its formulas, in words as well."""

    backend: tuple[str, Mapping[str, Any]]
    traffic: Callable[[Setting], Traffic]
    kept: Callable[[Setting], Kept]
    sent_in_words: str
    kept_in_words: str
