"""What a recipe cannot ask for if its rows are not all checked before training."""

from __future__ import annotations

from mdpo_core.recipe.sections import Found, Sections


def unchecked(sections: Sections) -> Found:
    """Options that need every row to be checked before training, beside `Reader.check`."""
    if "validation" in sections.names and sections.validation.check != "all":  # type: ignore[union-attr]
        yield ("validation", "check"), "evaluators read every row, so all are checked: leave this out"
    data, place = sections.data, ("data", "check")
    if data.check == "all":
        return
    if data.is_streamed():
        yield place, "the rows of a stream are checked when they are met anyway: leave this out"
    elif data.duplicates == "quarantine":
        yield (
            place,
            "duplicates: quarantine keeps the first sound row of those with one content, so all must be checked: write "
            "check: all, or duplicates: keep",
        )
