"""The llava adapter on a small folder, an example for it, and its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import PIL.Image
import torch

from mdpo_core import Example, component
from mdpo_core.types.layout import pad_view


def adapter(folder: Path, **options: Any) -> Any:
    return component("adapter", "llava", path=str(folder), **options)


def example(photographs: Path, num_images: int = 1) -> Example:
    images = []
    for file in sorted(photographs.iterdir())[:num_images]:
        with PIL.Image.open(file) as image:
            images.append(image.convert("RGB"))
    prompt = f"USER: {'<image>' * num_images}\nWhat is it? ASSISTANT:"
    return Example("1", prompt, {"chosen": "A temple.", "rejected": "A flower."}, tuple(images))


def logits(model: Any, prompt: Any) -> torch.Tensor:
    rows = pad_view([prompt.token_ids], [prompt.token_ids[:0]])
    with torch.no_grad():
        return model.logits(model.hidden_states(rows, model.encode_images(prompt.images) if prompt.images else ()))
