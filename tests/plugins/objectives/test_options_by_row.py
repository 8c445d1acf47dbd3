"""Every number of every term: each row may have its own, as in a loop over rows, or a reason says why not."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from mdpo_core import ColumnStrength, ResponseTokens, ScorerOutput, Scores, Term, component
from mdpo_core.interfaces.strengths.by_row import options_by_row, within_limits
from mdpo_core.objective.strengths import TermStrengths
from mdpo_core.registry.discovery import current_registry
from mdpo_core.testing import score_cases
from mdpo_core.testing.strategies import token_log_probs
from mdpo_core.testing.term_calls import values_of

TERMS = [
    (kind, name)
    for kind in ("loss", "anchor")
    for name, cls in sorted(current_registry().components(kind).items())
    if cls.__module__.startswith("mdpo_objectives")
]
# Options without a default, and those with which each number has an effect.
OPTIONS: dict[str, dict[str, Any]] = {
    "softmax_dpo": {"over": ["rejected", "chosen@crop"]},
    "listwise": {"order": ["chosen", "rejected", "chosen@crop"]},
    "v_dpo": {"guidance": 1.5, "language_bias": 0.5},
    "visual_tpo": {"base": 0.5},
    "hpo": {"weight": 1.0, "alpha": 1.0},
    "spo": {"weight": 1.0, "degrees": ["chosen", "half", "little"]},
    "c3po": {"k": 0.5},
}
COLUMNS = {
    "label": [1.0, 0.0, 1.0, 0.0],
    "low_confidence": [1.0, 0.0, 1.0, 1.0],
    "scope": [0.0, 1.0, 2.0, 1.0],
    "chosen_score": [3.0, 2.5, 4.0, 3.5],
    "rejected_score": [1.0, 2.0, 0.5, 1.5],
}
ROWS = 4
SHAPE = "gives a formula its shape, and is no weight, margin or beta"
# Numbers that all rows share, and why.
SHARED = {
    ("alphapo", "alpha"): SHAPE,
    ("c3po", "temperature"): "distributions are measured before rows have numbers",
    ("discopop", "tau"): SHAPE,
    ("dmpo", "gamma"): SHAPE,
    ("f_dpo", "alpha"): SHAPE,
    ("hpo", "tau"): SHAPE,
}


def term_of(kind: str, name: str, **options: Any) -> Term:
    made = component(kind, name, **{**OPTIONS.get(name, {}), **options})
    assert isinstance(made, Term)
    return made


def drawn(term: Term, **more: list[float]) -> Scores:
    """Four pairs with answers of different lengths, in float64."""
    draw = torch.Generator().manual_seed(0)
    responses = sorted({view.response for view in term.views()})
    lengths = {response: [1 + (row + place) % 4 for row in range(ROWS)] for place, response in enumerate(responses)}

    def tokens(response: str) -> Any:
        return token_log_probs([(-3 * torch.rand(n, generator=draw) - 0.01).tolist() for n in lengths[response]])

    sides = [{view: tokens(view.response) for view in dict.fromkeys(term.views())} for _ in range(2)]
    masks = {response: torch.arange(max(ns)) < torch.tensor(ns)[:, None] for response, ns in lengths.items()}
    ids = {view: ResponseTokens(masks[view.response] * 1, masks[view.response] * 1) for view in sides[0]}
    columns = {name: COLUMNS.get(name, [0.9, 0.2, 0.6, 0.4]) for name in term.columns()} | more
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}
    return Scores.from_tokens(ScorerOutput(*sides), torch.ones(ROWS, dtype=torch.bool), tensors, ids)


def numbers_for(term: Term, option: str) -> list[float]:
    """A valid number for each row."""
    numbers = [0.4, 0.1, 0.3, 0.2]
    assert bool(within_limits(term, option, torch.tensor(numbers)).all())
    return numbers


def one_by_one(kind: str, name: str, option: str, numbers: list[float], scores: Scores) -> list[float]:
    """A loop: each row as if its number were that of all rows. A term that compares pairs sees all of them."""
    costs = []
    for row, number in enumerate(numbers):
        term = term_of(kind, name, **{option: number})
        seen = scores if term.compares_pairs else score_cases.row(scores, row)
        costs.append(float(values_of(term, seen)[row if term.compares_pairs else 0]))
    return costs


BY_ROW = [
    (kind, name, option)
    for kind, name in TERMS
    for option in options_by_row(current_registry().get(kind, name))
    if option != "weight"  # the objective multiplies by it
]


@pytest.mark.parametrize(("kind", "name", "option"), BY_ROW)
def test_a_column_gives_each_row_its_number(kind: str, name: str, option: str) -> None:
    term = term_of(kind, name, **{option: ColumnStrength(column="number")})
    numbers = numbers_for(term, option)
    scores = drawn(term, number=numbers)
    found: dict[str, Tensor] = TermStrengths("it", term).numbers(scores, lambda _: 0.0)
    together = values_of(term.with_by_row(found), scores).tolist()
    assert together == pytest.approx(one_by_one(kind, name, option, numbers, scores), rel=1e-9)
    assert together != pytest.approx(one_by_one(kind, name, option, numbers[::-1], scores), rel=1e-9)


@pytest.mark.parametrize(("kind", "name"), TERMS)
def test_a_number_of_a_term_may_differ_by_row_or_a_reason_says_why_not(kind: str, name: str) -> None:
    cls = current_registry().get(kind, name)
    numbers = {option for option, field in cls.model_fields.items() if _is_number(field.annotation)}
    shared = {option for term, option in SHARED if term == name}
    assert numbers - shared == set(options_by_row(cls))


def _is_number(annotation: Any) -> bool:
    return annotation is float or any(_is_number(each) for each in get_args(annotation))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("tdpo", {"variant": 1, "alpha": ColumnStrength(column="x")}, "alpha has an effect with 'variant: 2' only"),
        ("c3po", {"temperature": 2.0}, "temperature has an effect with a k above 0 only"),
    ],
)
def test_options_that_go_together_are_checked_with_columns_too(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        term_of("loss", name, **{"k": 0.0} if name == "c3po" else {}, **options)


def test_a_column_that_may_be_above_0_lets_options_go_with_it() -> None:
    term_of("loss", "c3po", k=ColumnStrength(column="x"), temperature=2.0)
