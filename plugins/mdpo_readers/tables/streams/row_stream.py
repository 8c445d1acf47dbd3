"""Streams of rows: `datasets` reads files, or the hub, in order, and says where to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mdpo_core import Block, DataError, LazyRows, Problem, RowStream, is_shortage
from mdpo_readers.tables.datasets_library import quiet
from mdpo_readers.tables.streams.block_table import BlockTable, StoredRow
from mdpo_readers.tables.streams.parts import Part, PartRows
from mdpo_readers.tables.table import Table


class TableStream(RowStream):
    """The rows of some files, or of a data set on the hub, in blocks of ``size``.

    ``rows_of`` makes examples from the table of a block.
    """

    def __init__(self, parts: Sequence[Part], size: int, rows_of: Callable[[Table], LazyRows]) -> None:
        self._parts, self._size, self._rows_of = parts, size, rows_of

    def blocks(self, state: Mapping[str, Any] | None = None) -> Iterator[Block]:
        where: dict[str, Any] = {"number": 0, "epoch": 0, "row": 0, "place": _START}
        where |= state or {}
        while True:
            yield from self._of_one_pass(where)
            where |= {"epoch": where["epoch"] + 1, "row": 0, "place": _START}

    def _of_one_pass(self, where: dict[str, Any]) -> Iterator[Block]:
        """The blocks up to the end of the source. ``where`` is kept up to date."""
        rows = _Rows(self._parts, where["place"])
        while found := list(islice(rows, self._size)):
            table = BlockTable(found, where["row"])
            yield Block(self._rows_of(table), where["number"], where["epoch"], dict(where), where["row"])
            where |= {"number": where["number"] + 1, "row": where["row"] + len(found), "place": rows.place()}
        if where["row"] == 0:
            raise DataError([Problem(self._parts[0].name, "", "there are no rows")])


# The part, the rows of it that were read, and the state of the library.
_START = {"part": 0, "row": 0, "state": None}


class _Rows(Iterator[StoredRow]):
    """The rows of all parts, from a place on."""

    def __init__(self, parts: Sequence[Part], place: Mapping[str, Any]) -> None:
        self._parts, self._part, self._row = parts, place["part"], place["row"]
        self._open(place["state"])

    def place(self) -> Mapping[str, Any]:
        """Where the next row is, as JSON values."""
        return {"part": self._part, "row": self._row, "state": None if self._rows is None else self._rows.state()}

    def __next__(self) -> StoredRow:
        while self._rows is not None:
            with self._explained():
                values = next(self._rows, None)
            if values is not None:
                self._row += 1
                return StoredRow(f"{self._parts[self._part].name} row {self._row}", values)
            self._part, self._row = self._part + 1, 0
            self._open(None)
        raise StopIteration

    def _open(self, state: Mapping[str, Any] | None) -> None:
        self._rows: PartRows | None = None
        if self._part < len(self._parts):
            with self._explained():
                self._rows = self._parts[self._part].open(self._row, state)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Says where the library failed."""
        try:
            with quiet():
                yield
        except DataError:
            raise
        except Exception as error:  # the library may raise any error for a damaged file
            if is_shortage(error):
                raise
            reason = " ".join(str(error.__cause__ or error).split())
            place = f"{self._parts[self._part].name}, after row {self._row}"
            text = f"cannot be read: {reason}; download the file, or write it, again"
            raise DataError([Problem(place, "", text)]) from error
