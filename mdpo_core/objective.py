"""The objective: a weighted sum of terms, and what is worth logging about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mdpo_core.declared import Declared
from mdpo_core.errors import PluginError
from mdpo_core.given import given, numbers
from mdpo_core.measurements import Statistic
from mdpo_core.running import RunningMeans
from mdpo_core.scores import Scores
from mdpo_core.terms import PairLoss, Term
from mdpo_core.view import View
from mdpo_core.world import ALONE, World


@dataclass(frozen=True)
class Outcome:
    """``loss``: ``(batch,)``, nats. ``metrics``: per-pair values by name, of the pairs that a metric is about.

    ``running``: per-pair values for `RunningMeans`.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    running: Mapping[str, Tensor]


class Objective:
    """Terms by label, minimized together. Called with the `Scores` of a batch.

    ``running`` holds the means that terms read; whoever trains moves them on.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        self.terms = dict(terms)
        self.views = tuple(dict.fromkeys(view for term in self.terms.values() for view in term.views()))
        self.statistics = _statistics(self.terms)
        self.needs_tokens = any(term.needs_tokens for term in self.terms.values())
        self.probes = {
            _module(label, name): probe for label, term in self.terms.items() for name, probe in term.probes().items()
        }
        self.running = RunningMeans(
            (_of(label, name) for label, term in self.terms.items() for name in term.running_means()),
            of_last_step=(_of(label, name) for label, term in self.terms.items() for name in term.step_means()),
        )
        self._betas = _reward_scales(self.terms.values())

    def __call__(self, scores: Scores) -> Outcome:
        total = torch.zeros(scores.applies.shape, device=scores.applies.device)
        metrics: dict[str, Tensor] = {}
        running: dict[str, Tensor] = {}
        for label, term in self.terms.items():
            counted = scores.counted(term.views())
            means = {name: self.running.mean(_of(label, name)) for name in term.means}
            probes = {name: scores.probes[_module(label, name)].only(term.views()) for name in term.probes()}
            seen = replace(
                _seen(term, scores),
                running=Declared(means, "mean"),
                probes=Declared(probes, "probe"),
            )
            values = _call(label, term, seen)
            running |= {_of(label, name): values[counted] for name, values in _means(label, term, seen).items()}
            # A pair that a term is not about adds nothing, and is still one of the pairs of the mean.
            total = total + term.weight * torch.where(counted, values, 0)
            metrics[f"loss/{label}"] = values.detach()[counted]
            if isinstance(term, PairLoss):
                metrics |= _pair_metrics(label, term, seen, counted & _compared(label, term, seen))
        return Outcome(total, {"loss": total.detach(), **metrics, **self._view_metrics(scores)}, running)

    @torch.no_grad()
    def _view_metrics(self, scores: Scores) -> dict[str, Tensor]:
        metrics = {}
        for view in self.views:
            counted = scores.counted([view])
            metrics[f"logps/{view}"] = scores.policy[view].detach()[counted]
            if view in self._betas and view in scores.reference:
                metrics[f"rewards/{view}"] = self._betas[view] * scores.log_ratio(view).detach()[counted]
        return metrics


def _statistics(terms: Mapping[str, Term]) -> dict[str, Statistic]:
    """The statistics of all terms; two terms may read the same one."""
    found: dict[str, Statistic] = {}
    for label, term in terms.items():
        for name, statistic in term.statistics().items():
            if found.setdefault(name, statistic) != statistic:
                raise PluginError(
                    f"term '{label}' ({type(term).__name__}): another term has another statistic '{name}'; terms share "
                    "one if its function is the same object, such as one at the top of a module"
                )
    return found


def _reward_scales(terms: Iterable[Term]) -> dict[View, float]:
    """A view's reward is beta times its log-ratio, with the beta of the first term that names the view."""
    scales: dict[View, float] = {}
    for term in terms:
        beta = getattr(term, "beta", None)
        if beta is not None:
            for view in term.views():
                scales.setdefault(view, float(beta))
    return scales


def _of(label: str, name: str) -> str:
    return f"{label}:{name}"


def _module(label: str, name: str) -> str:
    """As torch takes it for the name of a module."""
    return _of(label, name).replace(".", "_")


def _seen(term: Term, scores: Scores) -> Scores:
    return scores.only(term.views(), term.columns(), term.needs_reference, term.needs_tokens, term.statistics())


def _who(label: str, term: Term) -> str:
    return f"term '{label}' ({type(term).__name__})"


def _call(label: str, term: Term, scores: Scores) -> Tensor:
    who = _who(label, term)
    values = numbers(who, given(who, lambda: term(scores)), "one number a pair", scores.applies.shape)
    if not values.requires_grad and any(sums.requires_grad for sums in scores.policy.values()):
        raise PluginError(f"{who} does not depend on the policy's log-probs, so it trains nothing")
    return values


@torch.no_grad()
def _means(label: str, term: Term, scores: Scores) -> dict[str, Tensor]:
    """What running means are taken of, ``(batch,)`` each."""
    found = {}
    for name, function in term.means.items():
        who = f"the running mean '{name}' of {_who(label, term)}"
        found[name] = numbers(who, given(who, partial(function, scores)), "one number a pair", scores.applies.shape)
    return found


def _compared(label: str, term: PairLoss, scores: Scores) -> Tensor:
    who = f"compares() of {_who(label, term)}"
    values = given(who, lambda: term.compares(scores))
    return numbers(who, values, "a bool for each pair", scores.applies.shape, kind="bools")


@torch.no_grad()
def _pair_metrics(label: str, term: PairLoss, scores: Scores, counted: Tensor) -> dict[str, Tensor]:
    if not term.needs_reference:
        return {}
    margin = scores.margin(term.prefer, term.over)[counted]
    metrics = {f"rewards/accuracy/{label}": (margin > 0).to(margin.dtype)}
    beta = getattr(term, "beta", None)
    if beta is not None:
        metrics[f"rewards/margin/{label}"] = beta * margin
    return metrics


class Meter:
    """Means over pairs, collected over micro-batches without a synchronization for each."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        for name, values in metrics.items():
            total = values.sum(dtype=torch.float64)
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._counts[name] = self._counts.get(name, 0) + len(values)

    def means(self, world: World = ALONE) -> dict[str, float]:
        """The mean of each metric over the pairs of all processes; one that no pair was about is left out."""
        mine = {name: (float(total), self._counts[name]) for name, total in self._sums.items()}
        found = world.gather(mine)
        names = dict.fromkeys(name for each in found for name in each)
        totals = {name: [each[name] for each in found if name in each] for name in names}
        counts = {name: sum(count for _, count in parts) for name, parts in totals.items()}
        return {name: sum(total for total, _ in parts) / counts[name] for name, parts in totals.items() if counts[name]}
