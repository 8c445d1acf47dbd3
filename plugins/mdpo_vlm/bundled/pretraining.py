"""Train a small model from random weights, and save it where a command says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

_EVERY = 50  # steps between two lines


def train_steps(
    parameters: Sequence[nn.Parameter], steps: int, rate: float, loss: Callable[[], Tensor], name: str
) -> None:
    """Lower ``loss``, a scalar of the next batch, by AdamW with a one-cycle schedule.

    ``rate``: the highest learning rate. ``name``: what the lines on standard error call these steps.
    """
    import torch

    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        value = loss()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % _EVERY == 0:
            sys.stderr.write(f"{name}: step {step}/{steps}  loss {value.item():.3f}\n")


def save_pretrained(about: str, pretrain: Callable[[], tuple[LlavaForConditionalGeneration, LlavaProcessor]]) -> None:
    """The command that trains a small model and saves it in the folder ``--out``. ``about``: what its help says."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True, help="the folder to save it in")
    folder = parser.parse_args().out
    model, processor = pretrain()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
