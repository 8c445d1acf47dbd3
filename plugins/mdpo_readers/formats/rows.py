"""Examples from the pairs of a table's rows; a row is decoded when it is indexed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy
import pyarrow
from numpy.typing import NDArray

from mdpo_core import DataError, Example, ImageOptions, LazyRows, Problem
from mdpo_readers.cell_types import Cell
from mdpo_readers.formats.counting import UNKNOWN, WrittenColumns
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.part_pictures import pictures_of_row, read_cells, require_same_videos
from mdpo_readers.formats.unread import Unread
from mdpo_readers.formats.written import meant
from mdpo_readers.images import images
from mdpo_readers.other_marks import require_own_mark
from mdpo_readers.tables.scanned import Scanned
from mdpo_readers.tables.table import Table
from mdpo_readers.videos.cells import videos
from mdpo_readers.videos.marks import Shown, require_no_video, with_frames
from mdpo_readers.videos.sampling import Sampling

if TYPE_CHECKING:
    from PIL.Image import Image

FindPairs = Callable[[Row], Iterable[Pair]]
CountPairs = Callable[[pyarrow.Table], NDArray[numpy.int64]]


class Format(NamedTuple):
    """How the rows of a table are read.

    ``mark_ending``: what follows the marks of pictures that the data do not mark. ``columns``: those that are read.
    ``unread``: what must not stay unread. ``nested``: see `TableReader`. ``sampling``: which frames of a video are
    taken. ``count_pairs``: see `TableReader.counting`.
    """

    images: Path
    options: ImageOptions
    sampling: Sampling
    find: FindPairs
    mark_ending: str
    columns: Sequence[str]
    unread: Unread
    nested: Collection[str] = ()
    count_pairs: CountPairs | None = None


class FormatRows(LazyRows):
    """The pairs of a table, in order; cheap to copy into a worker process.

    ``index``: the row of each pair and its number in that row; None: each row makes one pair.
    """

    def __init__(self, format: Format, table: Table, index: Sequence[tuple[int, int]] | None = None) -> None:
        self._format, self._table, self._index = format, table, index

    def __len__(self) -> int:
        return len(self._table) if self._index is None else len(self._index)

    def place(self, number: int) -> str:
        """The row as errors name it, such as ``pairs.json row 3``; ``number`` counts from 0."""
        row, _ = self._row_of(number)
        return self._table.place(row)

    def num_without_example(self) -> int:
        return 0 if self._index is None else len(self._table) - len({row for row, _ in self._index[:]})

    def row(self, number: int) -> Example:
        place, which = self._row_of(number)
        row = stored_row(self._format, self._table, place)
        found = list(self._format.find(row))
        if len(found) <= which:
            raise DataError([Problem(row.where, "", "makes no preference pair")])
        if self._index is None and len(found) > 1:
            message = f"makes {len(found)} pairs, but its reader does not say that a row may make several"
            raise DataError([Problem(row.where, "", message)])
        written = self._table.first + place + 1
        name = f"{written}" if self._index is None else f"{written}-{which + 1}"
        return self._example(row, name, found[which])

    def _row_of(self, number: int) -> tuple[int, int]:
        return (number, 0) if self._index is None else self._index[number]

    def _example(self, row: Row, name: str, pair: Pair) -> Example:
        root, options = self._format.images, self._format.options
        read = read_cells(row.values())
        require_same_videos(read, pair.videos)
        given = pictures_of_row(read, pair.images)
        shown = self._shown(row.where, pair, () if given is None else images(given, root, options))
        return Example(
            id=name,
            prompt=shown.prompt,
            responses=pair.responses,
            begun=pair.begun,
            images=shown.images,
            videos=shown.videos,
            frame_times=shown.frame_times,
            columns=pair.columns,
            other_images={name: images(cell, root, options) for name, cell in pair.other_images.items()},
        )

    def _shown(self, where: str, pair: Pair, pictures: Sequence[Image]) -> Shown:
        """The prompt with marks for its pictures and for the frames of its videos."""
        used = self._format
        found = () if pair.videos is None else videos(pair.videos, used.images, used.sampling, used.options)
        asked = Cell(where, pair.asked, None)
        require_no_video(asked, pair.responses.values())
        if pictures:
            require_own_mark(asked, pair.prompt, "write <image> in its place")
        return with_frames(asked, pair.prompt, pictures, found, used.mark_ending, "; write one for each video")


def stored_row(format: Format, table: Table, number: int) -> Row:
    """A row of a table. Raises `DataError` if it cannot be read, or if it has a picture that the format leaves out."""
    values, place = meant(table.row(number), format.nested), table.place(number)
    format.unread.require_none(place, values)
    read = {column: values[column] for column in format.columns if column in values}
    return Row(place, read, table.of_text_alone(number))


class PairIndex(Sequence[tuple[int, int]]):
    """The row of each pair, and its number in that row, both from 0; 12 bytes a pair."""

    def __init__(self) -> None:
        self._rows, self._numbers = array("q"), array("i")
        self._num_rows = 0

    def add(self, counts: NDArray[numpy.int64]) -> None:
        """Add the pairs of the next rows. ``counts``: how many each of them has."""
        rows = numpy.arange(self._num_rows, self._num_rows + len(counts))
        before = numpy.cumsum(counts) - counts
        numbers = numpy.arange(counts.sum()) - numpy.repeat(before, counts)
        self._rows.frombytes(numpy.repeat(rows, counts).astype(numpy.int64).tobytes())
        self._numbers.frombytes(numbers.astype(numpy.int32).tobytes())
        self._num_rows += len(counts)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[int, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | Sequence[tuple[int, int]]:
        if isinstance(index, slice):
            return list(zip(self._rows[index], self._numbers[index], strict=True))
        return self._rows[index], self._numbers[index]


def index_of(format: Format, table: Table) -> PairIndex:
    """All pairs. Pictures are not read. A bad row counts as one pair, which fails when it is read."""
    index, first, written = PairIndex(), 0, WrittenColumns(format.nested)
    for scanned in table.scan():
        counts = _counts_at_once(format, scanned, written)
        unknown = numpy.flatnonzero(counts == UNKNOWN).tolist()
        for number, values in zip(unknown, scanned.rows(unknown), strict=True):
            counts[number] = _num_pairs(format, table, first + number, values)
        index.add(counts)
        first += len(scanned)
    return index


def _counts_at_once(format: Format, scanned: Scanned, written: WrittenColumns) -> NDArray[numpy.int64]:
    stored = None if format.count_pairs is None else scanned.arrow()
    if format.count_pairs is None or stored is None:
        return numpy.full(len(scanned), UNKNOWN)
    return format.count_pairs(written.read(stored))


def _num_pairs(format: Format, table: Table, number: int, values: Mapping[str, Any] | None) -> int:
    if values is None:
        return 1
    values = meant(values, format.nested)
    read = {column: values[column] for column in format.columns if column in values}
    row = Row("", read, table.of_text_alone(number))
    try:
        return sum(1 for _ in format.find(row))
    except DataError:
        return 1
