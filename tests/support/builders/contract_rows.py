"""Rows and an adapter for the contract of adapters."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
from mdpo_llava.adapter import Llava

from mdpo_core import Example, Lora
from support.pairs import PROMPT


def rows() -> list[Example]:
    pictures = [PIL.Image.linear_gradient("L").resize(size).convert("RGB") for size in ((40, 30), (28, 60))]
    return [
        Example("1", PROMPT, {"chosen": "A pink flower, of all things.", "rejected": "A tree."}, (pictures[0],)),
        Example("2", PROMPT + " Yes,", {"chosen": "Green", "rejected": "No people at all."}, (pictures[1],)),
        Example("3", "USER: How many? ASSISTANT:", {"chosen": "Two", "rejected": "There is one"}),
    ]


def lora_adapter(folder: Path) -> Llava:
    return Llava(path=str(folder), lora=Lora(rank=2, alpha=8, dropout=0.1))
