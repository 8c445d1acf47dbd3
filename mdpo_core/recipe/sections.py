"""The valid sections of a recipe, as checks between them read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.reader import Reader
from mdpo_core.interfaces.term import Term
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.recipe import Output, Scoring, label_of
from mdpo_core.recipe.yaml_document import Keys

Found = Iterator[tuple[Keys, str]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sections:
    """The valid sections of a recipe; ``names`` lists them. A check reads only the sections that it asks for."""

    names: frozenset[str]
    processes: int
    trains: bool
    model: ModelAdapter
    data: Reader
    validation: Reader | None
    backend: Backend
    train: Train
    scoring: Scoring
    output: Output
    reference: str
    corruptions: Mapping[str, Corruption]
    num_terms: int
    terms: Sequence[tuple[int, Term]]  # the valid ones, with their positions
    evaluators: Sequence[tuple[int, Evaluator]]

    @property
    def labels(self) -> list[str]:
        """The label of each valid term; see `Recipe.labels`."""
        return [label_of(position, term) for position, term in self.terms]


def sections_of(pieces: Mapping[str, Any], processes: int, trains: bool) -> Sections:
    """The sections from the valid pieces of a recipe; see `inconsistencies`."""
    present = {name: piece for name, piece in pieces.items() if piece is not None}
    single = ("model", "data", "validation", "backend", "train", "scoring", "output", "reference")
    return Sections(
        frozenset(present),
        processes,
        trains,
        **{name: present.get(name) for name in single},  # type: ignore[arg-type]  # a check reads those it asks for
        corruptions=present.get("corruptions", {}),
        num_terms=len(present.get("objective", ())),
        terms=_valid(present.get("objective", ())),
        evaluators=_valid(present.get("evaluators", ())),
    )


def _valid(items: Iterable[Item | None]) -> list[tuple[int, Item]]:
    return [(position, item) for position, item in enumerate(items) if item is not None]
