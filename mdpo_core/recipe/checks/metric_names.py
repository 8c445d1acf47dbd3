"""Evaluators whose metrics have the same names: the values of one of them would be lost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import NoneType

from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.recipe import label_of
from mdpo_core.recipe.sections import Found, Sections


def metric_names(sections: Sections) -> Found:
    """A problem for each evaluator that measures what one before it measures."""
    seen: dict[tuple[str, str], str] = {}
    for position, evaluator in sections.evaluators:
        own = f"'{evaluator.component_name()}' in evaluators.{position}"
        for key in _keys(evaluator, sections):
            first = seen.setdefault(key, own)
            if first != own:
                yield ("evaluators", position), _problem(key, first)
                break


def _keys(evaluator: Evaluator, sections: Sections) -> Iterator[tuple[str, str]]:
    """What stands before the evaluator's metrics, or else its kind with their names; none if it cannot tell them."""
    source = f"of the evaluator '{evaluator.component_name()}'"
    prefix = told_by_plugin(f"prefix {source}", lambda: evaluator.prefix, str, "text")
    if prefix:
        yield "", prefix  # it also names files, of whatever kind the evaluator is
        return
    terms = {_label(position, term): term for position, term in sections.terms}
    told = told_by_plugin(
        f"measures() {source}", lambda: evaluator.measures(terms), (Collection, NoneType), "names, or None"
    )
    yield from ((evaluator.component_name(), name) for name in told or ())


def _label(position: int, term: Term) -> str:
    """The term's label; its position stands for that of a class that gets its name later."""
    return label_of(position, term) if term.label or term.has_name() else str(position)


def _problem(key: tuple[str, str], first: str) -> str:
    kind, name = key
    if kind:
        return f"measures '{name}', as {first} does, and one value would be lost; take one of the two out"
    return f"is called '{name}', as {first} is, and one score would be lost; give it a label, such as {name}_2"
