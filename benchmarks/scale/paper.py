"""On paper: what models of 7, 13 and 72 billion weights need on 1 to 512 GPUs, and what then limits them.

Nothing here was measured on GPUs. Assumed: H100 SXM (https://resources.nvidia.com/en-us-tensor-core, data sheet: 80 GB,
NVLink 900 GB/s in both directions together, 989 TFLOP/s dense bfloat16), of which 400 TFLOP/s are sustained; nodes of
eight, with one 400 Gb/s link for each GPU between them, each of which carries one of eight rings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from benchmarks.scale.formulas import Kept, Setting
from benchmarks.scale.shapes import MODELS, TOKENS, Model
from benchmarks.scale.stages import STAGES
from benchmarks.scale.table import widths_of
from mdpo_core.scoring.head import ON_GPU

GB = 1e9
MEMORY = 80 * GB
# CUDA's context, NCCL's buffers, fragments.
RESERVE = 6 * GB
RATE = 400e12
GPUS = (1, 8, 64, 512)
NODE = 8
# Bytes a second that each GPU's share of a collective may take: out of a GPU, and through a node's links together.
NVLINK, BETWEEN_NODES = 450 * GB, NODE * 50 * GB
BATCH, MICRO_BATCH = 32, 4
EPOCHS, ROWS = 3, 10_000
FEW_UPDATES = 200
# Counted by activations.py: bytes that a layer keeps a token, by hidden and by intermediate size.
LAYER_KEEPS = {True: (23, 8), False: (28, 8)}

# What is tried, the cheapest first.
BY_LORA = (("local (DDP)", "bf16"), ("fsdp", "bf16"))
BY_ALL = (("local (DDP)", "fp32"), ("ZeRO 2", "bf16"), ("ZeRO 3", "bf16"))


@dataclass(frozen=True)
class Plan:
    """A model on so many GPUs, with ``pairs`` a micro-batch."""

    model: Model
    stage: str
    precision: str
    gpus: int
    batch: int
    pairs: int

    @cached_property
    def setting(self) -> Setting:
        backend = STAGES[self.stage].backend[0]
        widths = widths_of(backend, self.precision)
        return Setting(self.model.parts, widths, self.gpus, self.batch // (self.gpus * self.pairs))

    @property
    def kept(self) -> Kept:
        return STAGES[self.stage].kept(self.setting)

    @property
    def activations(self) -> float:
        """Bytes: every layer's input, what one layer keeps while it is computed again, and logits as they pass."""
        language, tokens = self.model.language, self.pairs * TOKENS
        by_hidden, by_intermediate = LAYER_KEEPS[self.model.lora]
        inputs = 2 * tokens * language.layers * language.hidden
        one = tokens * (by_hidden * language.hidden + by_intermediate * language.intermediate)
        return inputs + one + ON_GPU * (2 + 4 + 2)

    @property
    def memory(self) -> float:
        return self.kept.lasting + self.kept.passing + self.activations

    @property
    def fits(self) -> bool:
        return self.memory + RESERVE <= MEMORY

    @property
    def sent(self) -> float:
        """Bytes by a GPU in a step, by NCCL's rings."""
        return STAGES[self.stage].traffic(self.setting).sent(self.gpus)

    @property
    def link_seconds(self) -> float:
        """Of a step, if no link waits; a ring is as fast as its slowest link."""
        return self.sent / (NVLINK if self.gpus <= NODE else BETWEEN_NODES)

    @property
    def compute_seconds(self) -> float:
        flops = self.model.flops + self.model.caching_flops / EPOCHS
        return flops * self.batch / self.gpus / RATE

    @property
    def pairs_per_second(self) -> tuple[float, float]:
        """With nothing sent while something is computed, and with as much as possible."""
        return (
            self.batch / (self.link_seconds + self.compute_seconds),
            self.batch / max(self.link_seconds, self.compute_seconds),
        )

    @property
    def checkpoint(self) -> float:
        """Bytes of a checkpoint, over all its files: weights and moments of what trains, in float32."""
        return 12 * self.model.parts.all.trained

    @property
    def updates(self) -> int:
        """Of the weights, in a run."""
        return EPOCHS * math.ceil(ROWS / self.batch)

    @property
    def limit(self) -> str:
        """What would have to be more for the run to be faster."""
        if self.link_seconds > self.compute_seconds:
            return "links"
        if self.updates < FEW_UPDATES:
            return "data: too few updates"
        return "batch: no smaller one for so many GPUs" if self.batch > BATCH else "arithmetic"


def plans(model: Model, gpus: int) -> Iterator[Plan]:
    """What may be tried, the cheapest first."""
    for stage, precision in BY_LORA if model.lora else BY_ALL:
        if gpus == 1 and stage != "local (DDP)":
            continue
        yield Plan(model, stage, precision, gpus, max(BATCH, gpus * MICRO_BATCH), MICRO_BATCH)


def first_that_fits(model: Model, gpus: int) -> Plan | None:
    """The first plan that fits; None if none does."""
    return next((plan for plan in plans(model, gpus) if plan.fits), None)


def memory_table() -> str:
    """What each model needs, by number of GPUs."""
    lines = [
        "| model | trains | GPUs | first that fits | weights, gradients, optimizer | passing | activations | in all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_memory_row(model, gpus) for model in MODELS for gpus in GPUS)])


def _memory_row(model: Model, gpus: int) -> str:
    plan = first_that_fits(model, gpus)
    name = f"| {model.name} | {_trains(model)} | {gpus} "
    if plan is None:
        least = min(plans(model, gpus), key=lambda plan: plan.memory)
        return f"{name}| none: {least.stage} is {_gb(least.memory)} | {_gb(least.kept.lasting)} | {_rest(least)} |"
    return f"{name}| {_stage(plan)} | {_gb(plan.kept.lasting)} | {_rest(plan)} |"


def _rest(plan: Plan) -> str:
    return f"{_gb(plan.kept.passing)} | {_gb(plan.activations)} | {_gb(plan.memory)}"


def speed_table() -> str:
    """Bytes and seconds of a step, for what fits."""
    lines = [
        "| model | trains | GPUs | batch | sent by a GPU | links, s | arithmetic, s | pairs/s "
        "| 3 epochs: updates | minutes | checkpoint | limit |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        for gpus in GPUS:
            plan = first_that_fits(model, gpus)
            if plan is not None:
                lines += [_speed_row(each) for each in _batches(plan)]
    return "\n".join(lines)


def _batches(plan: Plan) -> Iterator[Plan]:
    """With the smallest batch that keeps all GPUs busy first."""
    if plan.batch > BATCH:
        yield Plan(plan.model, plan.stage, plan.precision, plan.gpus, plan.gpus, 1)
    yield plan


def _speed_row(plan: Plan) -> str:
    slow, fast = plan.pairs_per_second
    return (
        f"| {plan.model.name} | {_trains(plan.model)} | {plan.gpus} | {plan.batch} | {_gb(plan.sent)} "
        f"| {plan.link_seconds:.2f} | {plan.compute_seconds:.2f} | {_range(slow, fast)} "
        f"| {plan.updates} | {EPOCHS * ROWS / slow / 60:.1f} "
        f"| {_gb(plan.checkpoint)} | {plan.limit} |"
    )


def _range(slow: float, fast: float) -> str:
    low, high = (f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}" for rate in (slow, fast))
    return low if low == high else f"{low} to {high}"


def _trains(model: Model) -> str:
    return "LoRA" if model.lora else "all but vision"


def _stage(plan: Plan) -> str:
    return f"{plan.stage}, {plan.precision}"


def _gb(number: float) -> str:
    return f"{number / GB:.1f} GB" if number < 100 * GB else f"{number / GB:.0f} GB"
