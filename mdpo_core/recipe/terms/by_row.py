"""Options of terms that a recipe lets differ by row: ``{column: NAME}`` or ``{strength: NAME, ...}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mdpo_core.errors import shown
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.strengths.by_row import options_by_row, stand_ins
from mdpo_core.interfaces.strengths.strength import Strength
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.yaml_document import Keys

Making = Callable[[Keys, Mapping[str, Any]], Component | None]
FORM = "a number, {column: NAME} or {strength: NAME, ...}"


def term_of(
    cls: type[Term],
    options: Mapping[str, Any],
    component: Making,
    validated: Callable[[Mapping[str, Any]], Any],
    report: Callable[[Keys, str], None],
) -> Term | None:
    """A term from its options; None, and a report, for one that is not valid.

    ``component`` makes a strength at a place within the term; ``validated`` makes the term from its other options.
    """
    differing, found = options_by_row(cls), dict[str, Component | None]()
    for name, value in options.items():
        if name in differing and isinstance(value, (Mapping, Strength)):
            found[name] = _strength((name,), value, component, report)
        elif name in cls.model_fields and _is_by_row(value):
            report((name,), f"takes one number for all rows; by row: {', '.join(differing)}")
            found[name] = None
    numbers = stand_ins(cls, found)
    term = validated({**options, **numbers})
    strengths = {name: each for name, each in found.items() if isinstance(each, Strength)}
    if term is None or len(strengths) < len(found):
        return None
    made: Term = term.with_by_row(strengths)
    return made


def _is_by_row(value: Any) -> bool:
    return isinstance(value, Strength) or (isinstance(value, Mapping) and bool({"column", "strength"} & set(value)))


def _strength(
    keys: Keys,
    value: Any,
    component: Making,
    report: Callable[..., None],
) -> Component | None:
    if isinstance(value, Strength):
        return value
    if "strength" in value:
        return component(keys, value)
    if list(value) != ["column"]:
        report(keys, f"must be {FORM}; found {shown(dict(value))}")
        return None
    if not isinstance(value["column"], str):
        report((*keys, "column"), f"must be the name of a column, found {shown(value['column'])}")
        return None
    return component(keys, {"strength": "column", "column": value["column"]})
