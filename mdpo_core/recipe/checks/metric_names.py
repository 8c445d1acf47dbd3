"""Evaluators whose metrics have the same names: the values of one of them would be lost."""

from __future__ import annotations

from collections.abc import Collection
from types import NoneType

from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.recipe import label_of
from mdpo_core.recipe.sections import Found, Sections


def metric_names(sections: Sections) -> Found:
    """A problem for each evaluator that measures what one before it measures."""
    seen: dict[tuple[str, str], int] = {}
    for position, evaluator in sections.evaluators:
        kind = evaluator.component_name()
        for name in _names(evaluator, sections):
            first = seen.setdefault((kind, name), position)
            if first != position:
                yield ("evaluators", position), _problem(evaluator, name, first)
                break


def _names(evaluator: Evaluator, sections: Sections) -> Collection[str]:
    """What stands before the evaluator's metrics, or else their names; none if it cannot tell them."""
    source = f"of the evaluator '{evaluator.component_name()}'"
    prefix = told_by_plugin(f"prefix {source}", lambda: evaluator.prefix, str, "text")
    if prefix:
        return (prefix,)
    terms = {_label(position, term): term for position, term in sections.terms}
    told = told_by_plugin(
        f"measures() {source}", lambda: evaluator.measures(terms), (Collection, NoneType), "names, or None"
    )
    return told or ()


def _label(position: int, term: Term) -> str:
    """The term's label; its position stands for that of a class that gets its name later."""
    return label_of(position, term) if term.label or term.has_name() else str(position)


def _problem(evaluator: Evaluator, name: str, first: int) -> str:
    before = f"'{evaluator.component_name()}' in evaluators.{first}"
    if not evaluator.prefix:
        return f"measures '{name}', as {before} does, and one value would be lost; take one of the two out"
    return f"is called '{name}', as {before} is, and one score would be lost; give it a label, such as {name}_2"
