"""A JSON file as a table: a list of rows, or a row on each line. A row is parsed when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from datasets.exceptions import DatasetsError

from mdpo_core import DataError, Problem
from mdpo_readers.tables.datasets_library import cache_problem, is_for_no_rows
from mdpo_readers.tables.json_rows import BadRow, values_of
from mdpo_readers.tables.json_split import ROWS_ARE, row_texts
from mdpo_readers.tables.table import Table

_SHOWN = 20  # faults in an error; the rest are counted
# Part of the name in the cache: change it if these columns change.
_LAYOUT = "json rows 1"
_FEATURES = Features({"line": Value("int64"), "own_line": Value("bool"), "json": Value("large_binary")})


class JsonTable(Table):
    """The texts of a file's rows, in a memory-mapped copy of the file."""

    def __init__(self, path: Path, texts: Dataset, selected: Sequence[str] | None = None) -> None:
        self._path = path
        self._texts = texts
        self._selected = selected

    @classmethod
    def of(cls, path: Path) -> JsonTable:
        """The table of a file, which is copied into the cache of `datasets`. Raises `DataError`."""
        # Copying and unpacking may set the modification time back, but never the change time.
        state = path.stat()
        version = f"{_LAYOUT}|{path.resolve()}|{state.st_size}|{state.st_ctime_ns}"
        name = sha256(version.encode(errors="surrogateescape")).hexdigest()
        arguments = {"path": str(path)}
        try:
            texts = Dataset.from_generator(_stored, features=_FEATURES, gen_kwargs=arguments, fingerprint=name)
        except (DatasetsError, ValueError, OSError) as error:
            raise _refused(path, error) from error
        return cls(path, texts)

    def __len__(self) -> int:
        return len(self._texts)

    def row(self, number: int) -> dict[str, Any]:
        try:
            values = values_of(self._texts.data["json"][number].as_py())
        except BadRow as fault:
            raise DataError([self._problem(number, fault)]) from fault
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def place(self, number: int) -> str:
        return f"{self._path} row {number + 1}"

    def select(self, columns: Sequence[str]) -> JsonTable:
        return JsonTable(self._path, self._texts, columns)

    def without_embedded(self, columns: Sequence[str]) -> JsonTable:
        return self

    def missing(self, columns: Sequence[str]) -> Sequence[str]:
        seen: set[str] = set()
        problems: list[Problem] = []
        for number in range(len(self)):
            try:
                seen.update(self.row(number))
            except DataError as error:
                problems += error.problems
            if seen.issuperset(columns):
                return ()
        if problems:
            rest = [Problem("", "", f"... and {len(problems) - _SHOWN} more")] if len(problems) > _SHOWN else []
            raise DataError(problems[:_SHOWN] + rest)
        return [name for name in columns if name not in seen]

    def column_names(self) -> Sequence[str]:
        return list(dict.fromkeys(name for row in self._readable() for name in row))

    def _readable(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            try:
                yield self.row(number)
            except DataError:  # named when the row is read
                continue

    def _problem(self, number: int, fault: BadRow) -> Problem:
        stored = self._texts[number]
        location = self.place(number)
        if fault.line is not None or stored["own_line"]:
            location += f", {self._path.name}:{stored['line'] + (fault.line or 0)}"
        return Problem(location, "", f"cannot be read as json: {fault}{ROWS_ARE}")


def _stored(path: str) -> Iterator[dict[str, Any]]:
    for text in row_texts(Path(path)):
        yield text._asdict()


def _refused(path: Path, error: Exception) -> DataError:
    """The error about the file or the cache that the library has wrapped in its own error."""
    cause = error.__cause__ or error
    if isinstance(cause, DataError):
        return cause
    reason = "there are no rows" if is_for_no_rows(error) else f"cannot be read as json: {cause}"
    return DataError([cache_problem(error) or Problem(str(path), "", reason)])
