"""What held-out rows need of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import NoneType

from mdpo_core.errors import suggestion
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.reader import Reader
from mdpo_core.recipe.checks.needs import Need
from mdpo_core.recipe.sections import Found, Sections
from mdpo_core.types.example import Example, ExampleField

_ADD = "add hold_out: {share: 0.05} to data, or a section validation: {reader: ...}"


def held_out(sections: Sections) -> Found:
    """The problems of ``data.hold_out`` and ``validation``, and of evaluators that measure the rows that these give."""
    split, validation = sections.data.hold_out, sections.validation
    if split is not None and validation is not None:
        yield ("validation",), "data.hold_out holds out rows, too; take one of the two out of the recipe"
    if validation is not None and validation.hold_out is not None:
        yield ("validation", "hold_out"), "all rows of validation are held out; take this option out"
    if validation is not None and validation.is_streamed():
        yield ("validation", "streaming"), "all rows of validation are measured, so they need an end; set it to false"
    rows = validation or (sections.data if split is not None else None)
    for position, evaluator in sections.evaluators:
        if evaluator.reads_held_out and rows is None:
            name = evaluator.component_name()
            yield ("evaluators", position), f"'{name}' measures held-out rows, and the recipe has none; {_ADD}"
        elif evaluator.reads_held_out and rows is not None:
            yield from ((("evaluators", position), text) for text in _missing(evaluator, rows))


def _missing(evaluator: Evaluator, rows: Reader) -> Iterator[str]:
    """What an evaluator reads and the held-out rows do not have."""
    source = f"gives() of the reader '{rows.component_name()}'"
    given = told_by_plugin(source, rows.gives, (Mapping, NoneType), "names by field, or None")
    if given is not None:
        yield from _lacking(evaluator, lambda field: given.get(field, ()))


def lacking_for(evaluator: Evaluator, row: Example) -> Iterator[str]:
    """What an evaluator reads and a held-out row does not have."""
    yield from _lacking(evaluator, lambda field: getattr(row, field))


def _lacking(evaluator: Evaluator, given: Callable[[ExampleField], Collection[str]]) -> Iterator[str]:
    """``given(field)``: the names that rows have in a field."""
    source = f"needs() of the evaluator '{evaluator.component_name()}'"
    found = told_by_plugin(source, evaluator.needs, Mapping, "names by field")
    for need in (Need(field, name) for field, names in found.items() for name in names):
        names = given(need.field)
        if need.name not in names:
            near = suggestion(need.name, names)
            yield f"needs {need}{near}  (held-out rows have: {', '.join(names) or 'none'}){need.hint()}"
