"""The tables of fits-my-card.md, by the estimate of `mdpo check --memory` on published models' sizes.

``python scripts/docs/make_fits.py`` writes the page; it takes about ten minutes. It needs no weights.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mdpo_core import Recipe, load_recipe
from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimate, Estimator
from mdpo_core.types.batch import Batch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

PAGE = ROOT / "docs" / "fits-my-card.md"
MARK = "writes the tables. -->\n"
CARDS = (24, 48, 80, 141)  # GB
TOKENS = 300  # of the longer answer
SIZES = (1, 2, 4, 8, 16)  # micro-batches that divide the recipe's batch
TRIED = (1, 2)  # pairs; what a phase needs is a line through both


class Way(NamedTuple):
    """How a model trains: what a row of the table calls it, options of the recipe, and the number of cards."""

    trains: str
    backend: str
    options: tuple[str, ...]
    processes: int


_ALL = ("model.lora=null",)
_ZERO = "backend={{backend: deepspeed, precision: bf16, zero_stage: {}}}"
_OFFLOADED = "backend={backend: deepspeed, precision: bf16, zero_stage: 2, offload: optimizer}"
WAYS = (
    Way("LoRA", "local", (), 1),
    Way("QLoRA", "local", ("model.quantize=nf4",), 1),
    Way("all but vision", "ZeRO 2", (*_ALL, _ZERO.format(2)), 1),
    Way("all but vision", "ZeRO 2, offload: optimizer", (*_ALL, _OFFLOADED), 1),
    Way("LoRA", "ZeRO 3", (_ZERO.format(3),), 8),
    Way("LoRA", "fsdp", ("backend={backend: fsdp, precision: bf16}",), 8),
    Way("all but vision", "ZeRO 2", (*_ALL, _ZERO.format(2)), 8),
    Way("all but vision", "ZeRO 3", (*_ALL, _ZERO.format(3)), 8),
    Way("all but vision", "fsdp", (*_ALL, "backend={backend: fsdp, precision: bf16_mixed}"), 8),
)
RECOMPUTED = "scoring.activation_checkpointing=full"


class Peaks(NamedTuple):
    """Estimates with one pair and with two."""

    one: Estimate
    two: Estimate

    def at(self, pairs: int) -> float:
        """Bytes at most with so many pairs: the highest of the phases' lines."""
        return max(size + (self.two.phases[phase] - size) * (pairs - 1) for phase, size in self.one.phases.items())

    def largest(self, card: int) -> int:
        """The most pairs that fit, 0 if none does."""
        return max((pairs for pairs in SIZES if needed_card(self.at(pairs)) <= card * 1e9), default=0)


def recipe_of(model: str, folder: Path, way: Way, *more: str) -> Recipe:
    adapter = "llava" if model.startswith("LLaVA-1.5") else "chat_vlm"
    changes = [f"model.adapter={adapter}", f"model.path={folder}", "model.max_length=8192", *way.options, *more]
    return load_recipe(ROOT / "recipes" / "llava_mdpo.yaml", changes, way.processes)


def peaks_of(recipe: Recipe, batches: list[Batch], processes: int) -> Peaks:
    estimator = Estimator(recipe)
    return Peaks(*(estimator.estimate(batch, recipe.train, processes) for batch in batches))


def row(model: str, folder: Path, way: Way, batches: list[Batch]) -> str:
    plain, recomputed = (
        peaks_of(recipe_of(model, folder, way, *more), batches, way.processes) for more in ((), (RECOMPUTED,))
    )
    cells = [f"{plain.largest(card) or '-'} / {recomputed.largest(card) or '-'}" for card in CARDS]
    sizes = f"{plain.at(1) / 1e9:.1f} / {recomputed.at(1) / 1e9:.1f}"
    return f"| {model} | {way.trains} | {way.backend} | {sizes} | {' | '.join(cells)} |"


def rows(model: str, processes: int) -> list[str]:
    """The rows of a model, for the ways of so many cards."""
    from support.builders.long_answers import batch_of
    from support.builders.published_sizes import PUBLISHED, write_folder

    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(PUBLISHED[model], Path(name) / "model")
        ways = [way for way in WAYS if way.processes == processes]
        recipe = recipe_of(model, folder, ways[0])
        batches = [batch_of(recipe, pairs, TOKENS) for pairs in TRIED]
        return [row(model, folder, way, batches) for way in ways]


def tables() -> Iterator[str]:
    from support.builders.published_sizes import PUBLISHED

    counts = {"One card": 1, "Eight cards": 8}
    cards = " | ".join(f"{card} GB" for card in CARDS)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = {
            title: [pool.submit(rows, model, processes) for model in PUBLISHED] for title, processes in counts.items()
        }
        for title, of_models in found.items():
            yield from ("", f"## {title}", "", f"| model | trains | backend | GB for 1 pair | {cards} |")
            yield "|---|---|---|---|" + "---|" * len(CARDS)
            for of_model in of_models:
                yield from of_model.result()


def page() -> str:
    """The page with its tables written again."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n".join(tables()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
