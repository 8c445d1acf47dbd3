"""`mdpo check --memory`: how much memory a step needs, and what would fit a card."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.words.amounts import counted, memory_of

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.data.encoding import BatchBuilder
    from mdpo_core.memory.advice import Fit
    from mdpo_core.memory.estimate import Estimate
    from mdpo_core.recipe.recipe import Recipe
    from mdpo_core.types.batch import Batch

_KINDS = ("weights", "reference", "gradients", "optimizer", "passing", "activations", "logits")
_GB = 1e9


def check_memory(recipe: Recipe, options: argparse.Namespace) -> int:
    """Print the estimate, and write it as JSON if a file is named; 1 if the run does not fit the card."""
    from mdpo_core.cli.terminal.console import Console
    from mdpo_core.data.reading import read_data
    from mdpo_core.errors import RecipeError
    from mdpo_core.memory.advice import Fitting
    from mdpo_core.memory.cards import card_memory
    from mdpo_core.memory.longest import num_tokens
    from mdpo_core.processes.world import current_world
    from mdpo_core.storage.files import atomic_write
    from mdpo_core.storage.stored_checks import StoredChecks

    if options.show:
        raise RecipeError("--show prints tokens, and --memory estimates; give one of them")
    if options.json and not options.json.parent.is_dir():
        raise RecipeError(f"--json: the folder {options.json.parent} does not exist")
    card = None if options.gpu is None else card_memory(options.gpu)
    recipe.model.depth  # noqa: B018  # an adapter without it is refused before the data are read
    with Console(recipe):
        checked, builder = read_data(recipe, weights=False, store=StoredChecks(recipe))
    longest = partial(_longest, checked, builder)
    processes = options.processes or current_world().size
    load = partial(_loaded, options, processes)
    fitting = Fitting(load, longest, processes)
    found, tokens = fitting.estimate(), num_tokens(recipe, longest(recipe))
    fit = None if card is None else fitting.compare(card)
    print("\n".join(_lines(options.recipe, found, tokens, processes, fit)))  # noqa: T201
    if options.json:
        atomic_write(options.json, f"{json.dumps(_numbers(found, tokens, processes, fit), indent=2)}\n".encode())
    return 0 if fit is None or fit.fits else 1


def memory_lines(
    recipe: Recipe, options: argparse.Namespace, checked: CheckedData, builder: BatchBuilder
) -> Iterator[str]:
    """What a step would need, in a line; nothing for an adapter or a backend that cannot say it."""
    from mdpo_core.errors import DataError, RecipeError
    from mdpo_core.memory.cards import needed_card
    from mdpo_core.memory.estimate import Estimator
    from mdpo_core.processes.world import current_world

    try:
        estimator = Estimator(recipe)
        longest = _longest(checked, builder, recipe)
        found = estimator.estimate(longest, recipe.train, options.processes or current_world().size)
    except (RecipeError, DataError):  # DataError: the longest row is bad, and the recipe leaves it for later
        return
    card = f"a card of {memory_of(needed_card(found.peak))} is enough"
    yield f"  memory     {memory_of(found.peak)} of tensors in a step, so {card}  (more: --gpu GB)"


def _loaded(options: argparse.Namespace, processes: int, more: Sequence[str]) -> Recipe:
    """The recipe of the command line with more options."""
    from mdpo_core.recipe.loading import load_recipe

    return load_recipe(options.recipe, [*options.set, *more], processes, plugins=options.plugin)


def _longest(checked: CheckedData, builder: BatchBuilder, recipe: Recipe) -> Batch:
    from mdpo_core.memory.longest import longest_batch

    rows = checked.valid_examples()
    return longest_batch(
        recipe, checked.lengths, checked.keys, lambda drawn: builder.build(rows, drawn.rows, drawn.epoch)
    )


def _lines(recipe: Path, found: Estimate, tokens: int, processes: int, fit: Fit | None) -> Iterator[str]:
    from mdpo_core.memory.cards import needed_card

    each = f" in each of {processes} processes" if processes > 1 else ""
    yield f"{recipe}: a step needs {memory_of(found.peak)} of tensors{each}"
    yield f"  {'longest micro-batch':<20}{counted(found.pairs, 'pair')}, {counted(tokens, 'token')}"
    for kind in _KINDS:
        if getattr(found, kind):
            yield f"  {kind:<20}{memory_of(getattr(found, kind)):>9}"
    phases = ", ".join(f"{phase} {memory_of(size)}" for phase, size in found.phases.items())
    yield f"  {'at most':<20}{phases}"
    yield f"A card needs {memory_of(needed_card(found.peak))} for it: 6 % for fragments, 1 GB for CUDA itself."
    if fit is not None:
        yield from _verdict(fit)


def _verdict(fit: Fit) -> Iterator[str]:
    from mdpo_core.memory.cards import needed_card

    card = f"A card of {fit.card / _GB:g} GB"
    if fit.fits:
        yield f"{card}: it fits. The largest train.micro_batch_size that fits is {fit.largest}."
    elif fit.change is None:
        yield f"{card}: it does not fit, nor with these changes together:"
        yield from (f"  --set {option}" for option in fit.tried)
        # Rounded up: a card of this size must be enough.
        least = math.ceil(needed_card(fit.least) / 1e8) * 1e8
        yield f"The least that was tried needs a card of {memory_of(least)}. What is left: more"
        yield "processes that share the weights (fsdp, or deepspeed with zero_stage 3), offload, LoRA,"
        yield "4-bit weights, shorter rows."
    else:
        yield f"{card}: it does not fit. The cheapest change with which it does:"
        yield from (f"  --set {option}" for option in fit.change.options)
        yield f"  ({fit.change.price})"


def _numbers(found: Estimate, tokens: int, processes: int, fit: Fit | None) -> dict[str, Any]:
    from mdpo_core.memory.cards import needed_card

    numbers: dict[str, Any] = {"processes": processes, "pairs": found.pairs, "tokens": tokens}
    numbers |= {f"{kind}_gb": getattr(found, kind) / _GB for kind in _KINDS}
    numbers |= {f"{phase}_gb": size / _GB for phase, size in found.phases.items()}
    numbers |= {"peak_gb": found.peak / _GB, "card_gb": needed_card(found.peak) / _GB}
    if fit is not None:
        change = None if fit.change is None else {"options": list(fit.change.options), "price": fit.change.price}
        numbers["gpu"] = {
            "memory_gb": fit.card / _GB,
            "fits": fit.fits,
            "largest_micro_batch_size": fit.largest,
            "change": change,
        }
    return numbers
