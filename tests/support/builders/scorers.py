"""Scorers over small LLaVAs, and examples for them."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import torch

from mdpo_core import Example, Placement, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy
from mdpo_core.scoring.scorer import Scorer
from support.pairs import PROMPT


def examples(drawn: list[tuple[str, str, bool]], photographs: Path) -> list[Example]:
    files = sorted(photographs.iterdir())
    found = []
    for number, (chosen, rejected, with_image) in enumerate(drawn):
        with PIL.Image.open(files[number % len(files)]) as image:
            images = (image.convert("RGB"),) if with_image else ()
        prompt = PROMPT if with_image else PROMPT.replace("<image>\n", "")
        found.append(Example(str(number), prompt, {"chosen": chosen, "rejected": rejected}, images))
    return found


def make(llava: Path, terms: dict, lora: bool = True):  # type: ignore[no-untyped-def,type-arg]
    """Builder, objective, scorer and model, with adapters that are not zero."""
    torch.manual_seed(0)
    options = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}} if lora else {}
    adapter = component("adapter", "llava", path=str(llava), **options)
    crop = component("corruption", "random_crop")
    builder = BatchBuilder.for_terms(terms.values(), {"crop": crop}, adapter.encoder(), 2048, seed=0)
    objective = Objective(terms)
    model = adapter.load(Placement())
    reference = AdapterOff() if lora else FrozenCopy(adapter.load(Placement(), trainable=False))
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return builder, objective, Scorer(model, objective.reads, reference), model
