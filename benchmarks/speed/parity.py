"""Loss and gradients of the first step, left by one process for another to compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_LOSS = "loss"


def save(file: Path, loss: Tensor, trained: Mapping[str, torch.nn.Parameter]) -> None:
    """Of parameters with gradients."""
    gradients = {name: value.grad.detach().cpu() for name, value in trained.items() if value.grad is not None}
    assert gradients.keys() == trained.keys()
    save_file({**gradients, _LOSS: loss.detach().float().reshape(1).cpu()}, file)


def differences(mine: Path, other: Path) -> tuple[float, float]:
    """Of the loss, relative; and the largest of any gradient, relative to the largest gradient."""
    found, expected = load_file(mine), load_file(other)
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:5]
    loss, other_loss = found.pop(_LOSS), expected.pop(_LOSS)
    size = max(float(value.abs().max()) for value in expected.values())
    worst = max(float((found[name] - value).abs().max()) for name, value in expected.items())
    return float((loss - other_loss).abs() / other_loss.abs()), worst / size
