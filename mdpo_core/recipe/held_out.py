"""What held-out rows need of a recipe."""

from __future__ import annotations

from mdpo_core.recipe.sections import Found, Sections

_ADD = "add hold_out: {share: 0.05} to data, or a section validation: {reader: ...}"


def held_out(sections: Sections) -> Found:
    """The problems of ``data.hold_out`` and ``validation``, and of evaluators that measure the rows that these give."""
    split, validation = sections.data.hold_out, sections.validation
    if split is not None and validation is not None:
        yield ("validation",), "data.hold_out holds out rows, too; take one of the two out of the recipe"
    if validation is not None and validation.hold_out is not None:
        yield ("validation", "hold_out"), "all rows of validation are held out; take this option out"
    if split is None and validation is None:
        for position, evaluator in sections.evaluators:
            if evaluator.reads_held_out:
                name = evaluator.component_name()
                yield ("evaluators", position), f"'{name}' measures held-out rows, and the recipe has none; {_ADD}"
