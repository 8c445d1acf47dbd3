"""Runs in processes of their own, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from support.paths import RECIPES

RECIPE = RECIPES / "llava_mdpo.yaml"
# What a clock or a machine decides.
_MEASURED = {"pairs_per_second", "tokens_per_second", "data_wait", "memory_gb", "tflops", "mfu"}


def command(changes: list[str], *more: str, recipe: Path = RECIPE) -> list[str]:
    words = [sys.executable, "-m", "mdpo_core.cli", "run", str(recipe)]
    return [*words, *(word for change in changes for word in ("--set", change)), *more]


def launch(
    changes: list[str], folder: Path, *more: str, recipe: Path = RECIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end; a run that fails is the caller's to look at."""
    words = command(changes, "--run-dir", str(folder), *more, recipe=recipe)
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})


def begin(changes: list[str], folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own."""
    words = command(changes, "--run-dir", str(folder), *more)
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def records(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Until so many steps are logged, or the run has ended."""
    while len(records(folder)) < step and process.poll() is None:
        time.sleep(0.01)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids that a launcher has started, by rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for child in map(int, children):
        try:
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        ranks = [entry for entry in environment if entry.startswith(b"RANK=")]
        if ranks:
            found[int(ranks[0].removeprefix(b"RANK="))] = child
    return [found[rank] for rank in sorted(found)]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    [file] = (folder / "final").glob("*model.safetensors")
    return load_file(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def require_same_training(one: Path, other: Path, tolerance: float, but: str = "$^") -> None:
    """Equal curves and equal weights, relative to the largest of each tensor, ``but`` for those of some names."""
    first, second = records(one), records(other)
    assert [record["step"] for record in first] == [record["step"] for record in second]
    for mine, theirs in zip(first, second, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - _MEASURED:
            assert abs(mine[name] - theirs[name]) <= tolerance * max(1.0, abs(mine[name])), (mine["step"], name)
    weights, expected = final_weights(one), final_weights(other)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        if re.search(but, name):
            continue
        # Infinity minus infinity is NaN, so the gap between equal values is set to 0.
        gap = float((weights[name] - value).where(weights[name] != value, 0.0).abs().max())
        assert gap <= tolerance * float(value.abs().max().clamp(min=1e-3)), (name, gap)


# Options of every backend that runs in several processes.
EVERY = {
    "ddp": "{backend: local, precision: fp32}",
    "fsdp": "{backend: fsdp, precision: fp32}",
    **{f"zero_{stage}": f"{{backend: deepspeed, zero_stage: {stage}, precision: fp32}}" for stage in range(3)},
    # By itself, DeepSpeed would keep weights as small as these whole in every process.
    "zero_3": "{backend: deepspeed, zero_stage: 3, precision: fp32, "
    "config: {zero_optimization: {stage3_param_persistence_threshold: 0}}}",
}
