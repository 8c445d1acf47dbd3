"""Whole commands on the device: the quickstart in every precision, ZeRO stages, the profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.stages import Bench, Skipped

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "quickstart.yaml"
_LORA = "model.lora={rank: 8, alpha: 16}"
_TIMEOUT = 180.0  # seconds
_SPARE = 25.0
_LENGTH = {"cuda": 1280, "cpu": 32}  # pairs
_SHOWN = ("loss", "rewards/margin/text", "grad_norm", "pairs_per_second", "tflops", "mfu", "memory_gb")

# By name: changes of the quickstart.
PRECISIONS = {
    "local fp32": ["backend.precision=fp32"],
    "local bf16_autocast": ["backend.precision=bf16_autocast"],
    "local bf16_autocast, sdpa": ["backend.precision=bf16_autocast", "scoring.attention=sdpa"],
    "local bf16, LoRA": ["backend.precision=bf16", _LORA],
    "fsdp fp32": ["backend={backend: fsdp}"],
    "fsdp bf16_mixed": ["backend={backend: fsdp, precision: bf16_mixed}"],
}
_ZERO = "backend={backend: deepspeed, "
STAGES = {
    "ZeRO 0": [f"{_ZERO}zero_stage: 0, precision: bf16}}"],
    "ZeRO 1": [f"{_ZERO}zero_stage: 1, precision: bf16}}"],
    "ZeRO 2": [f"{_ZERO}zero_stage: 2, precision: bf16}}"],
    "ZeRO 3": [f"{_ZERO}zero_stage: 3, precision: bf16}}"],
    "ZeRO 0, fp16": [f"{_ZERO}zero_stage: 0, precision: fp16}}"],
    "ZeRO 2, offload": [f"{_ZERO}zero_stage: 2, precision: bf16, offload: optimizer}}"],
}
# On a CPU, automatic attention is SDPA.
_CUDA_ONLY = ("local bf16_autocast, sdpa", "ZeRO 0, fp16", "ZeRO 2, offload")


def quickstart(bench: Bench) -> None:
    """The README's run in each precision."""
    _runs(bench, PRECISIONS)


def zero(bench: Bench) -> None:
    """The same under DeepSpeed."""
    if find_spec("deepspeed") is None:
        raise Skipped("deepspeed is not installed")
    _runs(bench, STAGES)


def profile(bench: Bench) -> None:
    """`mdpo profile` of the quickstart."""
    numbers, trace = bench.folder / "profile.json", bench.folder / "trace.json"
    done = _mdpo(bench, "profile", str(RECIPE), "--steps", "5", "--json", str(numbers), "--trace", str(trace))
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-400:])
    found = json.loads(numbers.read_text())
    bench.note(**{name: found[name] for name in ("seconds", "peaks", "tflops", "mfu", "operators") if name in found})


def _runs(bench: Bench, cases: dict[str, list[str]]) -> None:
    for name, changes in cases.items():
        if name in _CUDA_ONLY and not bench.cuda:
            bench.note(what=name, skipped="on CUDA only")
        elif bench.left < _SPARE:
            bench.note(what=name, skipped=f"{bench.left:.0f} s are left")
        else:
            bench.tried(lambda: _run(bench, name, changes), what=name)  # noqa: B023


def _run(bench: Bench, name: str, changes: list[str]) -> dict[str, Any]:
    folder = bench.folder / name.replace(" ", "-").replace(",", "")
    shared = [f"data.num_pairs={_LENGTH[bench.device]}", "trackers=[]", "evaluators=[]"]
    words = [word for change in (*shared, *changes) for word in ("--set", change)]
    done = _mdpo(bench, "run", str(RECIPE), "--run-dir", str(folder), *words)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().replace("\n", " ")[-400:])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "steps": len(lines),
        "first_loss": lines[0]["loss"],
        "last": {key: lines[-1][key] for key in _SHOWN if key in lines[-1]},
        "warned": done.stderr.strip()[-300:],
    }


def _mdpo(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    hidden = {} if bench.cuda else {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "mdpo_core.cli", *words],
        capture_output=True,
        text=True,
        timeout=min(_TIMEOUT, max(bench.left, 1)),
        env=os.environ | hidden,
    )
