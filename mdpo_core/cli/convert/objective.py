"""The section `objective` of a recipe, from the losses of another trainer."""

from __future__ import annotations

from typing import Any

from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.losses import LossOptions, named, term_of, weighted
from mdpo_core.cli.convert.options import Options
from mdpo_core.words.amounts import counted


def put_objective(
    draft: Draft, options: Options, names: list[str], weights: list[float], values: LossOptions, notes: list[str]
) -> list[str]:
    """A term for each loss. Returns their labels. Raises `RecipeError` for a loss that has no counterpart."""
    if len(weights) != len(names):
        options.refuse("loss_weights", f"has {counted(len(weights), 'number')} for {counted(len(names), 'loss')}")
    terms = []
    for name, weight in zip(names, weights, strict=True):
        term = term_of(name, values)
        if isinstance(term, str):
            options.config.refuse(f"loss_type: {term}")
        terms.append((name, weighted(term, weight)))
    return put_terms(draft, terms, notes)


def put_terms(draft: Draft, terms: list[tuple[str, dict[str, Any]]], notes: list[str]) -> list[str]:
    """The terms, by the names that the trainer gives them. Returns their labels."""
    for (name, _), term in zip(terms, named(terms), strict=True):
        draft.add("objective", term, name)
    for sentence in notes:
        draft.note(sentence)
    return [str(term["label"]) for term in named(terms)]
