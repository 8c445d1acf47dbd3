"""Models whose weights are drawn on the device: no folder of 14 GB is written and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mdpo_vlm.loading import load
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from mdpo_core import Placement


@contextmanager
def drawn_weights(device: str) -> Iterator[None]:
    """Whoever reads a LLaVA's weights, by us or by transformers, gets weights drawn on ``device``; always the same."""

    def ours(folder: Path, placement: Placement) -> PreTrainedModel:
        return _draw(folder, placement.device, getattr(torch, placement.dtype))

    def plain(folder: Any, *, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
        return _draw(Path(folder), device, dtype)

    with (
        mock.patch.object(load, "read_weights", ours),
        mock.patch.object(LlavaForConditionalGeneration, "from_pretrained", plain),
    ):
        yield


def _draw(folder: Path, device: str, dtype: torch.dtype) -> PreTrainedModel:
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(folder))
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)
