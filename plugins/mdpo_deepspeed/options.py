"""The options of DeepSpeed: some follow from the recipe, others are in the recipe and passed on unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdpo_core import Train

_MICRO_BATCH = "train.batch_size and train.micro_batch_size"
_PRECISION = "backend.precision"
_OPTIMIZER = "train.learning_rate, train.weight_decay and train.adam_betas, of torch's AdamW"
_PAIRS = "this backend, in which each process computes different pairs"
_SHARES = "this backend, which saves the shares of all processes"
_FIXED = "fp16.loss_scale, which stays the same in a run"
_NO_CLIPPING = 1e30  # DeepSpeed does not measure the norm if it does not clip
# Options that another part of the recipe sets, or that this backend relies on.
_DECIDED = {
    "train_batch_size": _MICRO_BATCH,
    "train_micro_batch_size_per_gpu": _MICRO_BATCH,
    "gradient_accumulation_steps": _MICRO_BATCH,
    "managed_gradient_accumulation": _MICRO_BATCH,
    "gradient_clipping": "train.max_grad_norm",
    "gradient_allreduce_op": "this backend, which takes the sum over all pairs",
    "zero_optimization.compute_grad_norm": "train.max_grad_norm",
    "optimizer": _OPTIMIZER,
    "zero_force_ds_cpu_optimizer": _OPTIMIZER,
    "scheduler": "train.schedule and train.warmup_ratio",
    "zero_optimization.stage": "backend.zero_stage",
    "zero_optimization.cpu_offload": "backend.offload",
    "zero_optimization.cpu_offload_params": "backend.offload",
    "zero_optimization.offload_optimizer.device": "backend.offload",
    "zero_optimization.offload_param.device": "backend.offload",
    "zero_optimization.leaf_module": "this backend, which gathers the model's layers",
    "bf16.enabled": _PRECISION,
    "bfloat16": _PRECISION,
    "fp16.enabled": _PRECISION,
    "amp": _PRECISION,
    "torch_autocast": _PRECISION,
    "bf16.check_grad_overflow": "this backend, which never updates weights with gradients that are not finite",
    "bf16.bf16_master_weights_and_grads": "this backend, which keeps float32 weights to update",
    "bf16.bf16_optimizer_states": "this backend, which keeps AdamW's moments in float32",
    "fp16.fp16_master_weights_and_grads": "this backend, which keeps float32 weights to update",
    **dict.fromkeys(
        (
            "fp16.initial_scale_power",
            "fp16.loss_scale_window",
            "fp16.hysteresis",
            "fp16.consecutive_hysteresis",
            "fp16.min_loss_scale",
        ),
        _FIXED,
    ),
    "activation_checkpointing": "scoring.activation_checkpointing",
    "checkpoint": "output",
    "elasticity": "the launcher",
    "data_types.param_dtype": _PRECISION,
    "data_types.grad_accum_dtype": "this backend, which adds gradients up in float32 from stage 2 on",
    "tensor_parallel": _PAIRS,
    "expert_parallel": _PAIRS,
    "pipeline": _PAIRS,
    "zero_optimization.mics_shard_size": _SHARES,
    "zero_optimization.zero_hpz_partition_size": _SHARES,
    "zero_optimization.zenflow": _OPTIMIZER,
    "data_efficiency": "data",
    "curriculum_learning": "data",
}


def decided_elsewhere(config: Mapping[str, Any]) -> list[str]:
    """One message for each option in ``config`` that only another part of the recipe may set."""
    found = list(_paths(config))
    problems = [
        f"{path} = {value!r} cannot be set here; it is decided by {_DECIDED[path]}"
        for path, value in found
        if path in _DECIDED
    ]
    if ("fp16.loss_scale", 0) in found:
        problems.append(
            "fp16.loss_scale = 0 would let DeepSpeed skip steps and change the factor of the gradients, which "
            "checkpoints do not save; give the factor, for example 1024"
        )
    return problems


def _paths(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The path and the value of every option and every section."""
    for key, value in config.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def deepspeed_options(
    stage: int, precision: str, offload: str, config: Mapping[str, Any], train: Train
) -> dict[str, Any]:
    """The configuration for DeepSpeed; ``config`` replaces options of mdpo."""
    zero: dict[str, Any] = {"stage": stage}
    if offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if offload == "optimizer_and_parameters":
        zero["offload_param"] = {"device": "cpu"}
    ours = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        # Gradients add up until `step` is called, for any number of micro-batches; DeepSpeed must not count them.
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": min(train.grad_norm_limit, _NO_CLIPPING),
        "zero_optimization": zero,
        # DeepSpeed's optimizers would have to be compiled.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": precision == "bf16", "check_grad_overflow": True},
        # A fixed scale: a dynamic one loses steps at the start, and a checkpoint would have to save it.
        "fp16": {"enabled": precision == "fp16", "loss_scale": 1024 if precision == "fp16" else 0},
    }
    if precision != "fp32" and stage >= 2:
        ours["data_types"] = {"grad_accum_dtype": "fp32"}
    return _merged(ours, config)


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(ours)
    for key, value in theirs.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
