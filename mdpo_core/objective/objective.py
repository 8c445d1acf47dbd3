"""The objective: a weighted sum of terms, and its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from mdpo_core.errors import PluginError
from mdpo_core.interfaces.measurements import Probe, Statistic, TermInputs
from mdpo_core.interfaces.plugin_results import call_plugin, require_tensor
from mdpo_core.interfaces.term import PairLoss, Term
from mdpo_core.objective.running_means import RunningMeans
from mdpo_core.objective.strengths import TermStrengths, batch_means
from mdpo_core.types.scores import Scores, versions_of
from mdpo_core.types.view import View

# For each term by its label: a number for each pair, (batch,), in the place of some options.
NumbersByRow = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Outcome:
    """What an objective computes for a batch.

    ``loss``: ``(batch,)``, nats. ``values``: metrics by name, ``(batch,)`` each. ``running``: values of pairs for
    `RunningMeans`, by name. ``counted``: masks of the pairs that count for a metric, ``(batch,)`` bool, by its name;
    without one, all do.
    """

    loss: Tensor
    values: Mapping[str, Tensor]
    running: Mapping[str, Tensor]
    counted: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        """The values of only those pairs that count, by name. Reading them waits for the device."""
        return {
            name: values[self.counted[name]] if name in self.counted else values for name, values in self.values.items()
        }


@dataclass(frozen=True)
class LabeledTerm:
    """A term with its label, which is unique in a recipe; checks what the term's code returns.

    ``scores`` are always those that the term may read (`Scores.seen_by`).
    """

    label: str
    term: Term

    def __str__(self) -> str:
        return f"term '{self.label}' ({type(self.term).__name__})"

    def named(self, name: str) -> str:
        """``name``, which the term chose, made unique among all terms."""
        return f"{self.label}:{name}"

    def module(self, name: str) -> str:
        """The unique name of a probe's module. Torch does not allow dots in it."""
        return self.named(name).replace(".", "_")

    def with_by_row(self, numbers: Mapping[str, Tensor]) -> LabeledTerm:
        """The term with a number for each pair, ``(batch,)``, in the place of some options."""
        return replace(self, term=self.term.with_by_row(numbers)) if numbers else self

    def values(self, scores: Scores) -> Tensor:
        """The term's loss of each pair, ``(batch,)``, nats, before its weight."""
        values = self._numbers(f"{self}", self.term, scores)
        if not values.requires_grad and any(sums.requires_grad for sums in scores.policy.values()):
            raise PluginError(f"{self} does not depend on the policy's log-probs, so it trains nothing")
        return values

    @torch.no_grad()
    def means(self, scores: Scores) -> dict[str, Tensor]:
        """The values for running means, ``(batch,)`` each, by the term's own names."""
        return {
            name: self._numbers(f"the running mean '{name}' of {self}", function, scores)
            for name, function in self.term.means.items()
        }

    def metrics(self, scores: Scores) -> tuple[dict[str, Tensor], Tensor]:
        """Accuracy and margin of the rewards of each pair, and the mask of those that the term counts and compares."""
        counted = scores.counted(self.term.views())
        if not isinstance(self.term, PairLoss):
            return {}, counted
        counted = counted & self._compared(self.term, scores)
        return self._pair_metrics(self.term, scores) if self.term.needs_reference else {}, counted

    def _numbers(self, source: str, function: Callable[[Scores], object], scores: Scores) -> Tensor:
        before = versions_of(scores)
        values = call_plugin(source, partial(function, scores))
        written = [name for name, versions in versions_of(scores).items() if versions != before[name]]
        if written:
            raise PluginError(f"{source} writes into scores.{written[0]}, which other terms read; write into a clone()")
        return require_tensor(source, values, "one number a pair", scores.corruptible.shape)

    def _compared(self, term: PairLoss, scores: Scores) -> Tensor:
        source = f"compares() of {self}"
        values = call_plugin(source, lambda: term.compares(scores))
        return require_tensor(source, values, "a bool for each pair", scores.corruptible.shape, kind="bools")

    @torch.no_grad()
    def _pair_metrics(self, term: PairLoss, scores: Scores) -> dict[str, Tensor]:
        margin = scores.margin(term.prefer, term.over)
        metrics = {f"rewards/accuracy/{self.label}": (margin > 0).to(margin.dtype)}
        beta = getattr(term, "beta", None)
        if beta is not None:
            metrics[f"rewards/margin/{self.label}"] = beta * margin
        return metrics


class Objective:
    """Terms by label, minimized together. Called with the `Scores` of a batch.

    ``reads``: what a scorer must compute for the terms. ``running``: the means that terms read; the caller updates them
    after each step.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        self.terms = dict(terms)
        self.needs_tokens = any(term.needs_tokens for term in self.terms.values())
        self._labeled = [LabeledTerm(label, term) for label, term in self.terms.items()]
        views = dict.fromkeys(view for term in self.terms.values() for view in term.views())
        self.reads = TermInputs(tuple(views), _statistics(self.terms), _probes(self._labeled))
        self._strengths = {label: TermStrengths(label, term) for label, term in self.terms.items()}
        means = batch_means(self._strengths)
        self.running = RunningMeans(
            (labeled.named(name) for labeled in self._labeled for name in labeled.term.running_means()),
            of_last_step=(labeled.named(name) for labeled in self._labeled for name in labeled.term.step_means()),
            of_batch=(name for name, mean in means.items() if mean.decay is None),
            decaying={name: mean.decay for name, mean in means.items() if mean.decay is not None},
        )
        self._scales = _reward_scales(self.terms)

    def __call__(self, scores: Scores) -> Outcome:
        total = torch.zeros(scores.corruptible.shape, device=scores.corruptible.device)
        metrics: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        running: dict[str, Tensor] = {}
        by_row = {label: each.numbers(scores, self.running.mean) for label, each in self._strengths.items()}
        for declared in self._labeled:
            labeled = declared.with_by_row(by_row[declared.label])
            seen, counted = self._seen(declared, scores), scores.counted(declared.term.views())
            values = labeled.values(seen)
            running |= {labeled.named(name): each[counted] for name, each in labeled.means(seen).items()}
            running |= self._strengths[labeled.label].measured(scores, of_batch=False)
            # A pair that does not count for a term adds 0 to the sum; the mean is still over all pairs.
            total = total + labeled.term.weight * torch.where(counted, values, 0)
            of_pairs, compared = labeled.metrics(seen)
            of_term = {f"loss/{labeled.label}": values.detach(), **_strength_metrics(by_row, labeled.label)}
            metrics |= {**of_term, **of_pairs}
            masks |= {**dict.fromkeys(of_term, counted), **dict.fromkeys(of_pairs, compared)}
        for view in self.reads.views:
            of_view = self._view_metrics(scores, view, by_row)
            metrics |= of_view
            masks |= dict.fromkeys(of_view, scores.counted([view]))
        return Outcome(total, {"loss": total.detach(), **metrics}, running, masks)

    def measured(self, scores: Scores) -> dict[str, Tensor]:
        """What some pairs add to the means of the whole batch, ``(pairs,)`` each, by name."""
        return {
            name: values
            for each in self._strengths.values()
            for name, values in each.measured(scores, of_batch=True).items()
        }

    def _seen(self, labeled: LabeledTerm, scores: Scores) -> Scores:
        term = labeled.term
        means = {name: self.running.mean(labeled.named(name)) for name in term.means}
        return scores.seen_by(term, means, {name: scores.probes[labeled.module(name)] for name in term.probes()})

    @torch.no_grad()
    def _view_metrics(self, scores: Scores, view: View, by_row: NumbersByRow) -> dict[str, Tensor]:
        metrics = {f"logps/{view}": scores.policy[view].detach()}
        if view in self._scales and view in scores.reference:
            label = self._scales[view]
            beta = by_row[label].get("beta", getattr(self.terms[label], "beta"))  # noqa: B009
            metrics[f"rewards/{view}"] = beta * scores.log_ratio(view).detach()
        return metrics


def _strength_metrics(by_row: NumbersByRow, label: str) -> dict[str, Tensor]:
    """The numbers in the place of a term's options, as metrics."""
    return {f"strength/{option}/{label}": numbers for option, numbers in by_row[label].items()}


def _statistics(terms: Mapping[str, Term]) -> dict[str, Statistic]:
    """The statistics of all terms; two terms may read the same one."""
    statistics: dict[str, Statistic] = {}
    for label, term in terms.items():
        for name, statistic in term.statistics().items():
            if statistics.setdefault(name, statistic) != statistic:
                raise PluginError(
                    f"term '{label}' ({type(term).__name__}): another term has another statistic '{name}'; give one of "
                    "them another name, or use the same function in both, such as one at the top of a module"
                )
    return statistics


def _probes(terms: Iterable[LabeledTerm]) -> dict[str, Probe]:
    """The probes of all terms; each term has its own."""
    return {labeled.module(name): probe for labeled in terms for name, probe in labeled.term.probes().items()}


def _reward_scales(terms: Mapping[str, Term]) -> dict[View, str]:
    """For each view, the label of the first term that names it and has a beta: the scale of its reward."""
    scales: dict[View, str] = {}
    for label, term in terms.items():
        if getattr(term, "beta", None) is not None:
            for view in term.views():
                scales.setdefault(view, label)
    return scales
