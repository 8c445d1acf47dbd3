"""Rows without a picture, which terms over an image condition leave out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.pictures.keys import has_picture
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.types.view import CLEAN
from mdpo_core.words.amounts import counted


def warn_of_missing_pictures(recipe: Recipe, builder: BatchBuilder, parts: Sequence[CheckedData]) -> None:
    """Tell how many rows have no picture, if terms leave them out for that; rows that were not read are not counted."""
    named = zip(recipe.labels(), recipe.objective, strict=True)
    terms = [label for label, term in named if any(view.condition != CLEAN for view in term.views())]
    if not terms:
        return
    every = [has_picture(keys) for part in parts for keys in part.keys if keys]
    count = every.count(False)
    rows = ((part, row, keys) for part in parts for row, keys in zip(part.rows, part.keys, strict=True))
    without = (part.data[row] for part, row, keys in rows if keys and not has_picture(keys))
    if not count or builder.is_corruptible(next(without)):
        return
    have, them = ("has", "it") if count == 1 else ("have", "them")
    leave = f"term {terms[0]} leaves" if len(terms) == 1 else f"terms {', '.join(terms)} leave"
    logging.getLogger(__name__).warning(
        f"{count:,} of {counted(len(every), 'row')} {have} no picture: the {leave} {them} out"
    )
