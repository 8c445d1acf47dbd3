"""The numbers that take the place of a term's options, one for each pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mdpo_core.errors import PluginError
from mdpo_core.interfaces.plugin_results import call_plugin, require_tensor
from mdpo_core.interfaces.strengths.by_row import limits_of, within_limits
from mdpo_core.interfaces.strengths.strength import BatchMean, Pairs, Strength
from mdpo_core.interfaces.term import PairLoss, Term
from mdpo_core.types.declared import OnlyDeclared
from mdpo_core.types.scores import Scores


class TermStrengths:
    """The strengths of a term with its label, which is unique in a recipe.

    ``means``: the means that they read, by names that are unique among all terms.
    """

    def __init__(self, label: str, term: Term) -> None:
        self._label, self._term = label, term
        self._strengths = dict(term.strengths())
        self.means = {
            self._named(option, name): mean
            for option, strength in self._strengths.items()
            for name, mean in strength.means().items()
        }

    def _named(self, option: str, name: str) -> str:
        return f"{self._label}:{option}:{name}"

    @torch.no_grad()
    def numbers(self, scores: Scores, mean: Callable[[str], float]) -> dict[str, Tensor]:
        """A number for each pair by option, ``(batch,)``. ``mean``: the value of a mean by its name among all terms.

        Raises `PluginError` if a number of a strength is beyond what the option accepts.
        """
        return {option: self._numbers(option, scores, mean) for option in self._strengths}

    @torch.no_grad()
    def measured(self, scores: Scores, of_batch: bool) -> dict[str, Tensor]:
        """What pairs that count add to each mean, ``(pairs,)``: to those of the whole batch, or to the others."""
        counted = scores.counted(self._term.views())
        return {
            name: self._measure(option, name, mean, scores)[counted]
            for option, name, mean in self._all_means()
            if (mean.decay is None) == of_batch
        }

    def _all_means(self) -> Iterator[tuple[str, str, BatchMean]]:
        for option, strength in self._strengths.items():
            for name, mean in strength.means().items():
                yield option, self._named(option, name), mean

    def _measure(self, option: str, name: str, mean: BatchMean, scores: Scores) -> Tensor:
        source = f"the mean '{name}' of {self._source(option)}"
        values = call_plugin(source, partial(mean.measure, self._pairs(self._strengths[option], scores)))
        return require_tensor(source, values, "one number a pair", scores.corruptible.shape)

    def _numbers(self, option: str, scores: Scores, mean: Callable[[str], float]) -> Tensor:
        strength, source = self._strengths[option], self._source(option)
        means = {name: mean(self._named(option, name)) for name in strength.means()}
        pairs = replace(self._pairs(strength, scores), means=OnlyDeclared(means, "batch mean"))
        values = call_plugin(source, lambda: strength(pairs))
        numbers = require_tensor(source, values, "one number a pair", scores.corruptible.shape).detach()
        # A pair that does not count may have any margin.
        wrong = ~within_limits(self._term, option, numbers) & scores.counted(self._term.views())
        for row in wrong.nonzero()[:1, 0].tolist():
            place = f" for the example '{scores.ids[row]}'" if scores.ids else ""
            raise PluginError(
                f"{source} gives {float(numbers[row]):.9g}{place}; '{option}' must be {limits_of(self._term, option)}"
            )
        return numbers

    def _source(self, option: str) -> str:
        return f"the strength {type(self._strengths[option]).__name__} of '{option}' in the term '{self._label}'"

    def _pairs(self, strength: Strength, scores: Scores) -> Pairs:
        columns = {name: scores.columns[name] for name in strength.columns()}
        margins = margins_of(self._term, scores) if strength.reads_margins else None
        return Pairs(OnlyDeclared(columns, "column"), ids=scores.ids, measured_margins=margins)


def margins_of(term: Term, scores: Scores) -> Tensor:
    """The margins of a term's pairs, ``(batch,)``, nats, without a gradient."""
    assert isinstance(term, PairLoss), "the checks of a recipe refuse strengths of margins elsewhere"
    return scores.margin(term.prefer, term.over).detach()


def batch_means(strengths: Mapping[str, TermStrengths]) -> dict[str, BatchMean]:
    """All means that the strengths of all terms read, by name."""
    return {name: mean for each in strengths.values() for name, mean in each.means.items()}
