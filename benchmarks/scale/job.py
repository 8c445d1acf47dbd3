"""What is measured: a stage, a small LLaVA, and what its processes found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One training run of a few steps, in ``world`` processes.

    ``stage``: a name in `stages.STAGES`. ``lora_rank`` None: everything trains but the vision tower. ``reference``:
    ``cached`` needs no forward, ``adapter_off`` needs one in each micro-batch, ``frozen_copy`` a model of its own.
    """

    stage: str
    folder: str
    world: int = 2
    lora_rank: int | None = None
    micro_batches: int = 2
    steps: int = 3
    precision: str = "fp32"
    reference: str = "cached"
    recompute: bool = False


@dataclass(frozen=True)
class Found:
    """What one rank found. Bytes a step, but for what the store's connections carried a second.

    ``resting``: of tensors after a step; ``with_gradients``: at most, after one of its backwards.
    """

    sent: float
    store_per_second: float
    on_interface: float
    resting: int
    with_gradients: int
    parameters: Mapping[str, Any]
