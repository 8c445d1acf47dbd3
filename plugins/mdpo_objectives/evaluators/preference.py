"""How well the policy prefers the chosen answers of held-out rows, and how much of that it owes to their pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import Field, field_validator

from mdpo_core import (
    Corruption,
    DataError,
    Evaluator,
    ExampleField,
    MdpoError,
    PairLoss,
    Policy,
    Problem,
    RowLogProb,
    Term,
    component,
)

_OF_TERMS = ("loss", "rewards/accuracy/", "rewards/margin/")


class Preference(Evaluator):
    """Measure the objective on the held-out rows, and whether the answers depend on the pictures.

    ``loss``, ``loss/TERM``, ``rewards/accuracy/TERM`` and ``rewards/margin/TERM`` are those of the log.
    ``logps/accuracy/picture``: share of the rows with a picture whose response has a higher log-prob with its picture
    than with the corrupted one; ``logps/margin/picture``: the mean difference, in nats. Both are of the policy alone,
    for any objective.
    """

    needs_reference: ClassVar[bool] = True
    reads_held_out: ClassVar[bool] = True
    by_source: bool = Field(default=False, description="also every metric by source of a mixture, as loss/NAME")
    response: str = Field(default="chosen", description="the response whose log-probs are compared")
    without: dict[str, Any] = Field(
        default={"corruption": "blank"},
        validate_default=True,
        description="the corruption that takes the picture away, with its options: {corruption: no_image}",
    )

    @field_validator("without")
    @classmethod
    def _without_is_a_corruption(cls, without: dict[str, Any]) -> dict[str, Any]:
        corruption_of(without)
        return without

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {**corruption_of(self.without).needs(), "responses": (self.response,)}

    def corruptions(self) -> tuple[Corruption]:
        return (corruption_of(self.without),)

    @property
    def reads_sources(self) -> bool:
        return self.by_source

    def measures(self, terms: Mapping[str, Term]) -> Collection[str] | None:
        if self.by_source:
            return None
        compared = {label: term for label, term in terms.items() if isinstance(term, PairLoss) and term.needs_reference}
        scaled = [label for label, term in compared.items() if getattr(term, "beta", None) is not None]
        return (
            "loss",
            *(f"loss/{label}" for label in terms),
            *(f"rewards/accuracy/{label}" for label in compared),
            *(f"rewards/margin/{label}" for label in scaled),
            "logps/accuracy/picture",
            "logps/margin/picture",
        )

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        rows = policy.held_out
        if not rows:
            raise DataError([Problem("", "", "there are no held-out rows; add hold_out: {share: 0.05} to data")])
        scored = policy.metrics(rows, by_source=self.by_source)
        seen = policy.log_probs(rows, self.response)
        unseen = policy.log_probs(rows, self.response, corruption_of(self.without))
        of_terms = {name: value for name, value in scored.items() if name.startswith(_OF_TERMS)}
        return of_terms | self._of_pictures(seen, unseen)

    def _of_pictures(self, seen: Sequence[RowLogProb], unseen: Sequence[RowLogProb]) -> dict[str, float]:
        gains: dict[str, list[float]] = {}
        for row, without in zip(seen, unseen, strict=True):
            if without.corruptible:
                for end in self._ends(row.source):
                    gains.setdefault(end, []).append(row.log_prob - without.log_prob)
        accuracies = {f"logps/accuracy/picture{end}": _mean(gain > 0 for gain in each) for end, each in gains.items()}
        return accuracies | {f"logps/margin/picture{end}": _mean(each) for end, each in gains.items()}

    def _ends(self, source: str) -> tuple[str, ...]:
        return ("", f"/{source}") if self.by_source and source else ("",)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def corruption_of(options: Mapping[str, Any]) -> Corruption:
    """The corruption from its options. Raises `ValueError` if they do not name one."""
    others = {key: value for key, value in options.items() if key != "corruption"}
    if not isinstance(options.get("corruption"), str) or {"kind", "name"} & set(others):
        raise ValueError("name a corruption and its options: {corruption: blank}")
    try:
        return cast(Corruption, component("corruption", options["corruption"], **others))
    except (ValueError, MdpoError) as error:
        raise ValueError(" ".join(str(error).split())) from error
