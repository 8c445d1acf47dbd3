"""What a recipe cannot ask for if its rows are not all checked before training."""

from __future__ import annotations

from mdpo_core.recipe.sections import Found, Sections


def unchecked(sections: Sections) -> Found:
    """Options that need every row to be read before training, beside `Reader.check`."""
    if "validation" in sections.names and sections.validation.check != "all":  # type: ignore[union-attr]
        yield ("validation", "check"), "evaluators read every row, so all are checked: leave this out"
    data, place = sections.data, ("data", "check")
    if data.check == "all":
        return
    if data.is_streamed():
        yield place, "the rows of a stream are checked when they are met anyway: leave this out"
    if data.hold_out is not None:
        yield place, "hold_out keeps rows with the same picture together, so it must read all: write check: all"
    if data.duplicates == "quarantine":
        yield place, "duplicates: quarantine must read all rows: write check: all"
    if "reference" in sections.names and sections.reference == "cached":
        yield place, "reference: cached scores all rows before training: write check: all, or reference: auto"
