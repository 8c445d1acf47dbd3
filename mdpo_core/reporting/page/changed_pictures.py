"""Pictures of some rows beside what a recipe's corruptions make of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from html import escape
from typing import NamedTuple

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import DataError
from mdpo_core.reporting.page.pictures import Shown, figure_html, shown
from mdpo_core.types.example import Example

_ROWS, _LOOKED_AT = 4, 32


class Changed(NamedTuple):
    """The pictures of a row under a condition. ``fault``: why this row cannot have it."""

    condition: str
    pictures: Sequence[Shown] = ()
    fault: str = ""


class RowPictures(NamedTuple):
    """A row's own pictures, which have no condition, and those of each condition."""

    id: str
    views: Sequence[Changed]


def changed_pictures(builder: BatchBuilder, data: Sequence[Example]) -> list[RowPictures]:
    """Some of the first rows that have pictures, as the first epoch sees them; none without corruptions.

    A corruption that takes another row's picture finds it among the first rows as well.
    """
    rows = _first_rows(data) if builder.corruptions else []
    return [_of_row(builder, row, rows) for row in [each for each in rows if each.images][:_ROWS]]


def _first_rows(data: Sequence[Example]) -> list[Example]:
    found = []
    for place in range(min(len(data), _LOOKED_AT)):
        with suppress(DataError):  # a row that is checked when it is met
            found.append(data[place])
    return found


def _of_row(builder: BatchBuilder, row: Example, rows: Sequence[Example]) -> RowPictures:
    own = Changed("", [shown(image) for image in row.images])
    return RowPictures(row.id, [own, *(_under(builder, row, name, rows) for name in builder.corruptions)])


def _under(builder: BatchBuilder, example: Example, condition: str, data: Sequence[Example]) -> Changed:
    try:
        corrupted = builder.corrupt(example, condition, data, epoch=0)
    except DataError as error:
        return Changed(condition, fault=str(error))
    return Changed(condition, [shown(image) for image in corrupted.images])


def rows_html(rows: Sequence[RowPictures]) -> str:
    """The pictures as HTML, a row of data below the other."""
    return "".join(f"<div class=conditions>{''.join(map(_view, row.views))}</div>" for row in rows)


def _view(view: Changed) -> str:
    title = escape(view.condition) if view.condition else "the picture"
    pictures = "".join(map(figure_html, view.pictures)) or "<p class=quiet>no picture</p>"
    body = f"<p class=fault dir=auto>{escape(view.fault)}</p>" if view.fault else pictures
    return f"<section class='condition one'><h5>{title}</h5><div class=thumbs>{body}</div></section>"
