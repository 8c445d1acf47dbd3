"""Rows of rows: wherever a row stands, its place is that in its file."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.types.example import Example
from mdpo_core.types.rows import Joined, LazyRows, Rows, place_in

NUM_ROWS = 12


class Filed(LazyRows):
    """Rows whose ids are their places in a file."""

    def __len__(self) -> int:
        return NUM_ROWS

    def place(self, number: int) -> str:
        return f"pairs.json row {number + 1}"

    def row(self, number: int) -> Example:
        return Example(self.place(number), "", {})


@st.composite
def parts(draw: st.DrawFn, rows: Sequence[Example]) -> Sequence[Example]:
    """Some of the rows, some of those, or these beside others."""
    for kind in draw(st.lists(st.sampled_from(["some", "slice", "joined"]), max_size=4)):
        if kind == "joined":
            rows = Joined((Filed(), rows))
        elif kind == "slice" and isinstance(rows, Rows):  # that of other rows is a list
            rows = rows[draw(st.integers(0, len(rows) - 1)) :]
        else:
            rows = Rows(rows, draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6)))
    return rows


@given(st.data())
def test_a_row_of_a_part_has_the_place_of_the_whole(data: st.DataObject) -> None:
    rows = data.draw(parts(Rows(Filed(), range(NUM_ROWS))))
    assert [place_in(rows, number) for number in range(len(rows))] == [each.id for each in rows]
    assert rows[-1] == rows[len(rows) - 1]


def test_rows_of_no_file_have_their_number() -> None:
    assert place_in([Example("a", "", {})] * 3, 2) == "row 3"
