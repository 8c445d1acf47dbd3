"""What the numbers of a world say to a claim: by code, from means and intervals over seeds."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from benchmarks.study.claims import Claim
from benchmarks.study.numbers import NOTHING, WorldNumbers
from benchmarks.study.variants import title_of
from mdpo_core.reporting.intervals import Mean, mean_of

Range = tuple[float, float]


class Verdict(Enum):
    """A verdict, and how a sentence says it."""

    SHOWN = "It shows"
    NOT_SURE = "It shows in every seed, but not surely"
    NOT_SHOWN = "It does not show"
    OPPOSITE = "It does not show, and the opposite does"
    ONE_SEED = "One seed alone cannot show it"
    NOT_RUN = "It was not run"


class Finding(NamedTuple):
    """What a world says to a claim."""

    verdict: Verdict
    sentence: str


class _Fitting(NamedTuple):
    """Which differences fit a claim: those between ``low`` and ``high``; ``how``: what a reader must know of them."""

    low: float
    high: float
    how: str = ""


def find(claim: Claim, world: WorldNumbers) -> Finding:
    """The finding, from the differences of runs with the same seed."""
    differences = world.differences(claim.first, claim.second, claim.measure)
    fitting = _fitting(claim, world)
    if not differences or fitting is None:
        return Finding(Verdict.NOT_RUN, f"{Verdict.NOT_RUN.value}.")
    agreeing = sum(fitting.low < each < fitting.high for each in differences)
    mean = mean_of(differences)
    verdict = _verdict(mean.interval, fitting, agreeing == len(differences))
    title = world.measure(claim.measure).title
    seeds = "seed agrees" if len(differences) == 1 else "seeds agree"
    how_many = f"{agreeing} of {len(differences)} {seeds}{fitting.how}"
    return Finding(verdict, f"{verdict.value}: {title}, {_named(claim)}, {_told(mean, world, claim)}; {how_many}.")


def _told(mean: Mean, world: WorldNumbers, claim: Claim) -> str:
    form = "+" + world.measure(claim.measure).form.lstrip("+")
    if mean.interval is None:
        return f"{mean.value:{form}}"
    low, high = mean.interval
    return f"{mean.value:{form}} (95 % interval {low:{form}} to {high:{form}})"


def _fitting(claim: Claim, world: WorldNumbers) -> _Fitting | None:
    """Alike are those that differ by less than half of what mDPO and DPO differ by in this world; None: not known."""
    infinite = float("inf")
    if claim.kind == "less":
        return _Fitting(-infinite, 0.0)
    if claim.kind == "more":
        return _Fitting(0.0, infinite)
    effect = world.differences("mdpo", "dpo", claim.measure)
    if not effect:
        return None
    margin = abs(mean_of(effect).value) / 2
    how = f" (alike: closer than {margin:.3f}, half of what mDPO and DPO differ by)"
    return _Fitting(-margin, margin, how)


def _verdict(interval: Range | None, fitting: _Fitting, all_agree: bool) -> Verdict:
    if interval is None:
        return Verdict.ONE_SEED
    low, high = interval
    if fitting.low < low and high < fitting.high:
        return Verdict.SHOWN
    if high < fitting.low or low > fitting.high:
        return Verdict.OPPOSITE
    return Verdict.NOT_SURE if all_agree else Verdict.NOT_SHOWN


def _named(claim: Claim) -> str:
    if claim.second == NOTHING:
        return title_of(claim.first)
    return f"{title_of(claim.first)} minus {title_of(claim.second)}"
