"""What rows are like for a model: their lengths, their pictures, and which of them can be held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdpo_core.errors import DataError, by_frequency
from mdpo_core.interfaces.reader import HoldOut

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.recipe.recipe import Recipe

_LOOKED_AT = 200  # rows
_MANY = 1000  # rows, of which a share is held out
_SHARE, _SHARE_OF_FEW = 0.02, 0.1
_LEAST_ROWS = 4  # with fewer, none are held out


@dataclass(frozen=True)
class Measured:
    """``num_rows`` that are sound, as far as they were read; ``longest``: tokens of the longest of them.

    ``hold_out``: the option that holds rows out, with their number; None if none can be. ``bad``: why rows are bad,
    the most frequent reason first.
    ``max_positions``: the most tokens that the model reads.
    """

    num_rows: int
    longest: int
    hold_out: HoldOut | None
    num_held_out: int
    num_bad: int
    bad: tuple[str, ...]
    max_positions: int | None


def measured(recipe: Recipe, num_rows: int) -> Measured:
    """Look at the rows of a recipe, or at some of them if there are many. Raises `DataError` if all are bad."""
    from mdpo_core.data.reading import read_data

    if num_rows > _LOOKED_AT:
        reader = recipe.data.model_copy(update={"check": _LOOKED_AT / num_rows})
        recipe = recipe.model_copy(update={"data": reader})
    checked, _ = read_data(recipe, weights=False)
    is_whole = num_rows <= _LOOKED_AT
    sound = len(checked.rows) if is_whole else num_rows
    hold_out, apart = _held_out(checked) if is_whole else _held_out_of_many(num_rows)
    bad = tuple(map(str, by_frequency(checked.bad.values())))
    return Measured(sound, max(checked.lengths), hold_out, apart, checked.num_bad, bad, recipe.model.max_positions)


def _held_out_of_many(num_rows: int) -> tuple[HoldOut, int]:
    if num_rows > _MANY:
        return HoldOut(share=_SHARE), round(_SHARE * num_rows)
    rows = round(_SHARE_OF_FEW * num_rows)
    return HoldOut(rows=rows), rows


def hold_out_unread(num_rows: int) -> HoldOut | None:
    """The option that holds rows out, by their number alone, before their pictures are known; None for few rows."""
    return _held_out_of_many(num_rows)[0] if round(_SHARE_OF_FEW * num_rows) else None


def _held_out(checked: CheckedData) -> tuple[HoldOut | None, int]:
    """The smallest number of rows from a tenth on that can be held out: rows that share a picture stay together."""
    from mdpo_core.data.held_out import held_out_rows

    num_rows = len(checked.rows)
    for wanted in range(max(2, round(_SHARE_OF_FEW * num_rows)), num_rows // 2 + 1) if num_rows >= _LEAST_ROWS else ():
        option = HoldOut(rows=wanted)
        try:
            return option, len(held_out_rows(checked.keys, checked.sources, option))
        except DataError:
            continue
    return None, 0
