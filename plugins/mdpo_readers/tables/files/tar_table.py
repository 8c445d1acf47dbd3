"""A tar file of WebDataset as a table: the files of one name, but for their endings, are a row."""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.files.loose_table import LooseTable
from mdpo_readers.tables.files.spans import Spans
from mdpo_readers.tables.scanned import OneByOne, Scanned

_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
_TEXTS = ("txt", "text")
_BLOCK = 512  # bytes; a tar file ends with a block of zeros


class _Member(NamedTuple):
    """A file of a row: its ending, such as ``rejected.jpg``, and its number among all files."""

    ending: str
    number: int

    @property
    def kind(self) -> str:
        return self.ending.rpartition(".")[2].lower()

    @property
    def column(self) -> str:
        """The column that the file fills, if it is no JSON file."""
        name = self.ending.rpartition(".")[0]
        return name or ("image" if self.kind in _PICTURES else self.ending)


class TarTable(LooseTable):
    """The rows of a file, which are read from the file itself; nothing is unpacked.

    The keys of a row's ``.json`` are columns. ``KEY.jpg`` is the column ``image``, ``KEY.other.jpg`` the column
    ``other``, ``KEY.0.jpg`` and ``KEY.1.jpg`` the list ``images``; ``KEY.prompt.txt`` is the column ``prompt``.
    """

    def __init__(self, path: Path, spans: Spans, rows: _Rows, selected: Sequence[str] | None = None) -> None:
        self._path, self._spans, self._rows, self._selected = path, spans, rows, selected

    @classmethod
    def of(cls, path: Path) -> TarTable:
        """The table of a file. Raises `DataError` if it is damaged, or if two files fill one place."""
        spans, rows = Spans(path, path), _Rows()
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    name = PurePosixPath(member.name)
                    if member.isfile() and not name.name.startswith("."):
                        key, _, ending = name.name.partition(".")
                        rows.add(str(name.with_name(key)), ending)
                        spans.add(member.offset_data, member.offset_data + member.size, 0)
                end = tar.offset
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise DataError([Problem(str(path), "", f"cannot be read as tar: {error}")]) from error
        if end + _BLOCK > path.stat().st_size:
            raise DataError([Problem(str(path), "", "cannot be read as tar: the file ends early")])
        rows.require_distinct(path)
        return cls(path, spans, rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> dict[str, Any]:
        values = self._values(number, with_pictures=True)
        return values if self._selected is None else {name: values.get(name) for name in self._selected}

    def described(self, number: int) -> dict[str, Any]:
        return self._values(number, with_pictures=False)

    def scan(self) -> Iterator[Scanned]:
        yield OneByOne(range(len(self)), self.described)

    def place(self, number: int) -> str:
        return f"{self._path} row {number + 1} ({self._rows.keys[number]})"

    def select(self, columns: Sequence[str]) -> TarTable:
        return TarTable(self._path, self._spans, self._rows, columns)

    def without_embedded(self, columns: Sequence[str]) -> TarTable:
        there = [name for name in self.column_names() if name not in columns]
        return self.select(there)

    def _values(self, number: int, with_pictures: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        pictures: dict[str, Any] = {}
        for member in self._rows.members(number):
            if member.kind == "json":
                values |= self._object(number, member)
            elif member.kind in _PICTURES:
                wanted = self._selected is None or member.column in self._selected or member.column.isdigit()
                stored = {"bytes": self._spans.text(member.number), "path": None} if with_pictures and wanted else None
                pictures[member.column] = stored
            elif member.kind in _TEXTS:
                values[member.column] = self._text(number, member)
        listed = sorted((name for name in pictures if name.isdigit()), key=int)
        if listed:
            values["images"] = [pictures.pop(name) for name in listed] if with_pictures else None
        return values | pictures

    def _object(self, number: int, member: _Member) -> Mapping[str, Any]:
        try:
            return values_of(self._spans.text(member.number))
        except BadRow as fault:
            raise self._bad(number, member, f"cannot be read as json: {fault}") from fault

    def _text(self, number: int, member: _Member) -> str:
        try:
            return self._spans.text(member.number).decode()
        except UnicodeDecodeError as error:
            raise self._bad(number, member, f"is not UTF-8 ({error.reason}); save it as UTF-8") from error

    def _bad(self, number: int, member: _Member, fault: str) -> DataError:
        return DataError([Problem(self.place(number), member.ending, fault)])


class _Rows:
    """Which files make which row: the files of a row follow one another."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._starts = array("q")
        self._endings = array("i")  # of each file, by their numbers in ``_names``
        self._names: dict[str, int] = {}

    def add(self, key: str, ending: str) -> None:
        """Add the next file."""
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
            self._starts.append(len(self._endings))
        self._endings.append(self._names.setdefault(ending, len(self._names)))

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, number: int) -> list[_Member]:
        """The files of a row."""
        names = list(self._names)
        end = self._starts[number + 1] if number + 1 < len(self) else len(self._endings)
        return [_Member(names[self._endings[each]], each) for each in range(self._starts[number], end)]

    def require_distinct(self, path: Path) -> None:
        """Raise `DataError` if a key stands in two places, or one of its endings occurs twice."""
        if len(set(self.keys)) < len(self.keys):
            seen: set[str] = set()
            twice = next(key for key in self.keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            text = f"the files of '{twice}' do not follow one another; write the files of a row side by side"
            raise DataError([Problem(str(path), "", text)])
        for number, key in enumerate(self.keys):
            columns = [member.ending for member in self.members(number)]
            if len(set(columns)) < len(columns):
                raise DataError([Problem(str(path), "", f"contains a file of '{key}' twice")])
