"""What would fit a card: the largest micro-batch, and the cheapest change of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimate, Estimator
from mdpo_core.recipe.consistency import can_be_cached
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import Batch

# Builds the longest micro-batch of a recipe.
Longest = Callable[[Recipe], Batch]


@dataclass(frozen=True)
class Change:
    """Options that make a run need less memory, as ``--set`` takes them, their ``price``, and the estimate with them.

    ``micro_batch_size``: the largest that fits the card with them, 0 if none does.
    """

    options: tuple[str, ...]
    price: str
    micro_batch_size: int
    estimate: Estimate


@dataclass(frozen=True)
class Fit:
    """Whether a run fits a card of ``card`` bytes.

    ``largest``: the largest micro-batch that fits as the recipe stands, 0 if none does. ``change``: the cheapest change
    with which the run fits; None if it fits already, or if no change is enough. ``least``: the fewest bytes of tensors
    of all that was tried.
    """

    card: float
    fits: bool
    largest: int
    change: Change | None
    least: float


class Fitting:
    """Compares the runs of a recipe with cards."""

    def __init__(self, recipe: Recipe, longest: Longest, num_processes: int) -> None:
        self._recipe, self._longest, self._num_processes = recipe, longest, num_processes
        self._estimators: dict[tuple[str, ...], Estimator] = {}
        self._estimates: dict[tuple[tuple[str, ...], int], Estimate] = {}

    def estimate(self, options: tuple[str, ...] = (), size: int | None = None) -> Estimate:
        """The estimate with some options of `_SWITCHES` and with micro-batches of ``size`` pairs."""
        size = size or self._recipe.train.micro_batch_size
        recipe = _with_size(_switched(self._recipe, options), size)
        if options not in self._estimators:
            self._estimators[options] = Estimator(recipe)
        if (options, size) not in self._estimates:
            batch = self._longest(recipe)
            found = self._estimators[options].estimate(batch, recipe.train, self._num_processes)
            self._estimates[options, size] = found
        return self._estimates[options, size]

    def compare(self, card: float) -> Fit:
        """Say whether the run fits a card of ``card`` bytes, and if not, what would make it fit."""
        fits, largest = needed_card(self.estimate().peak) <= card, self.largest((), card)
        change = None if fits else next((each for each in self._changes(card) if each.micro_batch_size), None)
        least = min(found.peak for found in self._estimates.values())
        return Fit(card, fits, largest, change, least)

    def largest(self, options: tuple[str, ...], card: float) -> int:
        """The largest micro-batch that fits, of those that divide the batch."""
        batch_size = self._recipe.train.batch_size
        sizes = [size for size in range(1, batch_size + 1) if batch_size % (size * self._num_processes) == 0]
        fitting = 0
        for size in sizes:
            if needed_card(self.estimate(options, size).peak) > card:
                break
            fitting = size
        return fitting

    def _changes(self, card: float) -> Iterator[Change]:
        """Changes from the cheapest on; each includes what those before it saved."""
        options: tuple[str, ...] = ()
        prices: list[str] = ["the result is the same"]
        for option, price in ("", ""), *_switches(self._recipe):
            options, prices = (*options, *filter(None, [option])), [*prices, *filter(None, [price])]
            size = self.largest(options, card)
            shown = (f"train.micro_batch_size={max(size, 1)}", *options)
            yield Change(shown, "; ".join(prices), size, self.estimate(options, max(size, 1)))


_CACHED, _RECOMPUTED = "reference=cached", "scoring.activation_checkpointing=full"


def _switches(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Options that save memory and change no result, with their prices."""
    if recipe.reference_kind() == "frozen_copy" and can_be_cached(recipe):
        yield _CACHED, "one pass over the data before training"
    if recipe.scoring.activation_checkpointing != "full":
        yield _RECOMPUTED, "a step takes about a third more time"


def _switched(recipe: Recipe, options: tuple[str, ...]) -> Recipe:
    changes: dict[str, Any] = {}
    if _CACHED in options:
        changes["reference"] = "cached"
    if _RECOMPUTED in options:
        changes["scoring"] = recipe.scoring.model_copy(update={"activation_checkpointing": "full"})
    return recipe.model_copy(update=changes)


def _with_size(recipe: Recipe, size: int) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"micro_batch_size": size})})
