"""The backend of a recipe: precision, and the configuration files of DeepSpeed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.options import Options
from mdpo_core.registry.discovery import current_registry

_BY_NAME = re.compile(r"(?:zero|z|stage)[_-]?([0-3])", re.IGNORECASE)
# Options of ZeRO that mdpo passes on: how it sends and keeps, not what it computes.
_PASSED_ON = re.compile(
    r"overlap_comm|contiguous_gradients|reduce_scatter|allgather_partitions|\w+_bucket_size|sub_group_size|"
    r"stage3_\w+|round_robin_gradients|zero_quantized_\w+"
)
_AUTO = "auto"
_HERE_TOO = (
    *("zero_optimization", "bf16", "fp16"),
    *("steps_per_print", "wall_clock_breakdown", "zero_allow_untested_optimizer"),
)


def put_backend(draft: Draft, options: Options, *, half: str, half_weights: bool, lora: bool, why: str) -> None:
    """The section ``backend``.

    ``half``: bf16, fp16 or nothing. ``half_weights``: frozen weights have that type, too.
    """
    if options.given("deepspeed"):
        _put_deepspeed(draft, options, half, why)
    elif options.given("fsdp") and options.text("fsdp").lower() not in ("false", "[]"):
        _put_fsdp(draft, options, half, half_weights and lora, why)
    else:
        draft.put("backend", "backend", "local", "one process for each GPU: mdpo-run RECIPE --processes N")
        draft.put("backend", "precision", _precision(draft, half, half_weights, lora), why)


def _precision(draft: Draft, half: str, half_weights: bool, lora: bool) -> str:
    if not half:
        return "fp32"
    if half == "fp16":
        if "fp16" in get_args(current_registry().get("backend", "local").model_fields["precision"].annotation):
            return "fp16" if half_weights and lora else "fp16_autocast"
        draft.note("fp16: the backend 'local' has no fp16; the recipe has bfloat16, and `backend: deepspeed` has fp16")
    if half_weights and not lora:
        draft.note("weights that train stay in float32 here, and bfloat16 computes: backend.precision: bf16_autocast")
    return "bf16" if half_weights and lora else "bf16_autocast"


def _put_fsdp(draft: Draft, options: Options, half: str, half_weights: bool, why: str) -> None:
    options.value("fsdp_config")
    draft.put("backend", "backend", "fsdp", options.why("fsdp"))
    if half == "fp16":
        draft.note("fp16: the backend 'fsdp' has no fp16; the recipe has bfloat16")
    draft.put("backend", "precision", "fp32" if not half else "bf16" if half_weights else "bf16_mixed", why)
    draft.note("fsdp, fsdp_config: layers are gathered one by one here; see backend.reshard_after_forward and offload")


def _put_deepspeed(draft: Draft, options: Options, half: str, why: str) -> None:
    config = _config_of(draft, options)
    zero = config.get("zero_optimization", {})
    stage = zero.get("stage", 0)
    draft.put("backend", "backend", "deepspeed", options.why("deepspeed"))
    draft.put("backend", "zero_stage", stage)
    draft.put("backend", "precision", half or "fp32", why)
    offloads = [_device(zero, name) for name in ("offload_optimizer", "offload_param")]
    offload = "optimizer_and_parameters" if offloads[1] else "optimizer" if offloads[0] else "none"
    draft.put("backend", "offload", offload)
    passed = {key: value for key, value in zero.items() if _PASSED_ON.fullmatch(key) and value != _AUTO}
    if passed:
        draft.put("backend", "config", {"zero_optimization": passed}, "DeepSpeed's own options")
    lost = [key for key, value in config.items() if key not in _HERE_TOO and value != _AUTO]
    if lost:
        draft.note(f"deepspeed: {', '.join(lost)}: the recipe decides these itself, or see backend.config")


def _device(zero: Mapping[str, Any], name: str) -> bool:
    part = zero.get(name)
    return isinstance(part, Mapping) and part.get("device") not in (None, "none")


def _read(options: Options, text: str, source: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as error:
        options.refuse("deepspeed", f"names {source}, which is no JSON: {error}")
    if not isinstance(read, Mapping) or not isinstance(read.get("zero_optimization", {}), Mapping):
        options.refuse("deepspeed", f"names {source}, which is no configuration of DeepSpeed")
    return read


def _config_of(draft: Draft, options: Options) -> Mapping[str, Any]:
    """DeepSpeed's configuration: written in place, in a file, or told by a name such as zero3_offload."""
    value = options.value("deepspeed")
    if isinstance(value, Mapping):
        return value
    name = str(value)
    beside = options.config.file.parent / name
    if name.lstrip().startswith("{"):
        return _read(options, name, "text")
    file = next((each for each in (Path(name), beside) if each.is_file()), None)
    if file is not None:
        return _read(options, file.read_text(encoding="utf-8"), str(file))
    found = _BY_NAME.search(Path(name).stem)
    if found is None:
        options.refuse("deepspeed", f"names {name}, which is not there")
    if "." in name:
        draft.note(f"deepspeed: {name} is not there; its name says stage {found[1]}")
    device = {"device": "cpu"} if "offload" in name else {"device": "none"}
    of_parameters = {"offload_param": device} if found[1] == "3" else {}
    return {"zero_optimization": {"stage": int(found[1]), "offload_optimizer": device, **of_parameters}}
