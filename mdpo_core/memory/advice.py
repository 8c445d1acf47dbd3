"""What would fit a card: the largest micro-batch, and the cheapest change of the recipe."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mdpo_core.errors import RecipeError
from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimate, Estimator
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.batch import Batch

# The recipe with options, as ``--set`` takes them. Raises `RecipeError` if the recipe cannot have them.
Load = Callable[[Sequence[str]], Recipe]
# Builds the longest micro-batch of a recipe.
Longest = Callable[[Recipe], Batch]


class Switch(NamedTuple):
    """An option that saves memory, and its ``price``. ``same``: the run's results do not change."""

    option: str
    price: str
    same: bool = True


# The cheapest first. A recipe gets those that it can have and that save memory, one after the other.
_SWITCHES = (
    Switch("", ""),
    Switch("reference=cached", "one pass over the data before training"),
    Switch("scoring.activation_checkpointing=full", "a step takes about a third more time"),
    Switch("backend.zero_stage=2", "gradients travel in every micro-batch"),
    Switch("backend.zero_stage=3", "weights travel in every micro-batch"),
    Switch("backend.backend=fsdp", "weights travel in every micro-batch"),
    Switch("backend.offload=optimizer", "the optimizer works in main memory"),
    Switch("model.quantize=nf4", "weights of 4 bits, with other results", same=False),
)
_WORTH = 0.99  # of the memory: what saves less is no help


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
    with which the run fits; None if it fits already, or if no change is enough. ``tried``: the options of all changes
    that were tried. ``least``: the fewest bytes of tensors among them.
    """

    card: float
    fits: bool
    largest: int
    change: Change | None
    tried: tuple[str, ...]
    least: float


class Fitting:
    """Compares the runs of a recipe with cards."""

    def __init__(self, load: Load, longest: Longest, num_processes: int) -> None:
        self._load, self._longest, self._num_processes = load, longest, num_processes
        self._train = load(()).train
        self._estimators: dict[tuple[str, ...], Estimator] = {}
        self._estimates: dict[tuple[tuple[str, ...], int], Estimate] = {}

    def estimate(self, options: tuple[str, ...] = (), size: int | None = None) -> Estimate:
        """The estimate with some options and with micro-batches of ``size`` pairs; None: of the recipe's size."""
        size = size or self._train.micro_batch_size
        if (options, size) not in self._estimates:
            recipe = self._load((*options, f"train.micro_batch_size={size}"))
            if options not in self._estimators:
                self._estimators[options] = Estimator(recipe)
            found = self._estimators[options].estimate(self._longest(recipe), recipe.train, self._num_processes)
            self._estimates[options, size] = found
        return self._estimates[options, size]

    def compare(self, card: float) -> Fit:
        """Say whether the run fits a card of ``card`` bytes, and if not, what would make it fit."""
        fits, largest = needed_card(self.estimate().peak) <= card, self.largest((), card)
        tried: tuple[str, ...] = ()
        change = None
        for each in () if fits else self._changes(card):
            tried = each.options
            if each.micro_batch_size:
                change = each
                break
        least = min(found.peak for found in self._estimates.values())
        return Fit(card, fits, largest, change, tried, least)

    def largest(self, options: tuple[str, ...], card: float) -> int:
        """The largest micro-batch that fits, of those that divide the batch; more pairs need more memory."""
        share, rest = divmod(self._train.batch_size, self._num_processes)
        sizes = [] if rest else [size for size in range(1, share + 1) if share % size == 0]

        def too_large(size: int) -> bool:
            return needed_card(self.estimate(options, size).peak) > card

        if not sizes or too_large(sizes[0]):
            return 0
        return sizes[bisect_right(sizes, False, lo=1, key=too_large) - 1]

    def _changes(self, card: float) -> Iterator[Change]:
        """Changes from the cheapest on; each includes those before it that save memory."""
        taken = [_SWITCHES[0]]
        yield self._change(taken, card)
        for switch in _SWITCHES[1:]:
            if self._saves([*taken, switch], taken):
                taken = [*taken, switch]
                yield self._change(taken, card)

    def _saves(self, switches: Sequence[Switch], before: Sequence[Switch]) -> bool:
        """Whether the recipe can have these options, and needs less memory with them for one pair."""
        try:
            return self.estimate(_options(switches), 1).peak < _WORTH * self.estimate(_options(before), 1).peak
        except RecipeError:
            return False

    def _change(self, switches: Sequence[Switch], card: float) -> Change:
        options = _options(switches)
        size = self.largest(options, card)
        prices = ["the result is the same"] if all(each.same for each in switches) else []
        prices += [each.price for each in switches if each.price]
        shown = (f"train.micro_batch_size={max(size, 1)}", *options)
        return Change(shown, "; ".join(prices), size, self.estimate(options, max(size, 1)))


def _options(switches: Sequence[Switch]) -> tuple[str, ...]:
    """All options; of those with the same key, the last."""
    return tuple({each.option.partition("=")[0]: each.option for each in switches if each.option}.values())
