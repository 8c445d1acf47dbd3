"""What ZeRO keeps on each device, by stage (arXiv:1910.02054); `benchmarks/scale` measures it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdpo_core import KeptMemory, WeightSizes

# DeepSpeed's defaults, in numbers: the bucket in which gradients are reduced, which is never larger than all that
# trains; and what may stay gathered at stage 3.
_BUCKET = 500_000_000
_LIVE = 1_000_000_000
_FLOAT32 = 4


def kept_memory(
    weights: WeightSizes, options: Mapping[str, Any], offload: str, width: int, num_processes: int, accumulates: bool
) -> KeptMemory:
    """Weights, gradients and optimizer state of one process.

    ``options``: DeepSpeed's. ``width``: bytes of a weight that trains. ``accumulates``: a step has several
    micro-batches.
    """
    stage, trained = int(options["zero_optimization"]["stage"]), weights.trained.numbers
    if stage == 0:
        return _unsplit(weights, width)._replace(frees_gradients=not accumulates)
    share = trained / num_processes
    # Among several processes, gradients leave for their owners while backward runs.
    frees = not accumulates and num_processes == 1
    all_weights = weights.frozen.bytes + trained * width
    # From stage 2 on, gradients are kept in shares, and add up in float32; before, whole and in the weights' type.
    gradients = (share if stage >= 2 else trained) * (_FLOAT32 if stage >= 2 and accumulates else width)
    bucket = min(trained, options["zero_optimization"].get("reduce_bucket_size", _BUCKET)) * width
    kept = KeptMemory(
        weights=all_weights / (num_processes if stage == 3 else 1),
        gradients=gradients,
        optimizer=share * 3 * _FLOAT32,  # the copy that AdamW updates, and two moments
        passing=bucket,
        # The first gradients of a backward get a new bucket. Those of the head come while all activations are there.
        backward=bucket if weights.trained_outside.numbers else 0,
        update=share * _FLOAT32,  # gradients side by side
        widest_update=share * _FLOAT32,
        frees_gradients=frees,
    )
    if stage == 3:
        kept = kept._replace(passing=kept.passing + width * _gathered(weights, options["zero_optimization"]))
    if offload != "none":
        kept = kept._replace(optimizer=0, gradients=0, update=0, widest_update=0)
    return kept._replace(weights=0) if offload == "optimizer_and_parameters" else kept


def _unsplit(weights: WeightSizes, width: int) -> KeptMemory:
    """Plain float32 has no copy of what trains; beside other weights, there is one, and gradients become float32."""
    trained = weights.trained.numbers
    all_weights = weights.frozen.bytes + trained * width
    if width == _FLOAT32:
        return KeptMemory(all_weights, trained * width, trained * 2 * _FLOAT32, widest_update=weights.widest.bytes)
    return KeptMemory(all_weights, trained * width, trained * 3 * _FLOAT32, widest_update=2 * weights.widest.bytes)


def _gathered(weights: WeightSizes, options: Mapping[str, Any]) -> float:
    """Numbers that are whole at once: two layers and what is in no layer, or as many as DeepSpeed leaves gathered."""
    needed = 2 * weights.layer.numbers + weights.outside.numbers
    live = float(options.get("stage3_max_live_parameters", _LIVE))
    return min(weights.total.numbers, max(needed, live))
