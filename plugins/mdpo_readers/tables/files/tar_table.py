"""A tar file of WebDataset as a table: the files of one name, but for their endings, are a row."""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem
from mdpo_readers.embedded import PICTURE_ENDINGS, VIDEO_ENDINGS, named_file
from mdpo_readers.tables.files.json_rows import BadRow, values_of
from mdpo_readers.tables.files.loose_table import LooseTable
from mdpo_readers.tables.files.spans import Spans
from mdpo_readers.tables.scanned import OneByOne, Scanned

_JSON = "json"
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
    def media(self) -> str | None:
        """``image`` or ``video`` for a file of this kind; None for any other."""
        return "image" if self.kind in PICTURE_ENDINGS else "video" if self.kind in VIDEO_ENDINGS else None

    @property
    def column(self) -> str:
        """The column that the file fills, if it is no JSON file; a number for one of a list."""
        name = self.ending.rpartition(".")[0]
        if self.media is not None:
            return name or self.media
        return name if name and self.kind in _TEXTS else self.ending


class TarTable(LooseTable):
    """The rows of a file, which are read from the file itself; nothing is unpacked.

    The keys of a row's ``.json`` are columns. ``KEY.jpg`` is the column ``image``, ``KEY.other.jpg`` the column
    ``other``, ``KEY.0.jpg`` and ``KEY.1.jpg`` the list ``images``; ``KEY.mp4`` is the column ``video``;
    ``KEY.prompt.txt`` is the column ``prompt``, and ``KEY.winner``, a file of any other kind, the column ``winner``.
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
        members = sorted(self._rows.members(number), key=lambda member: member.kind != _JSON)  # these before others
        filled = _Filled(self.place(number), self._rows.keys[number])
        listed: dict[str, dict[int, Any]] = {}
        for member in members:
            if member.kind == _JSON:
                for column, value in self._object(number, member).items():
                    filled.add(column, value, member)
                continue
            is_number = member.media is not None and member.column.isdigit()
            column = f"{member.media}s" if is_number else member.column
            is_wanted = self._selected is None or column in self._selected
            value = self._content(number, member) if is_wanted and (with_pictures or member.media is None) else None
            filled.add(column, value, member, member.column if is_number else "")
            if is_number:
                listed.setdefault(column, {})[int(member.column)] = value
        self._require_files(number, members, filled.values)
        in_order = {column: [each[place] for place in sorted(each)] for column, each in listed.items()}
        return filled.values | (in_order if with_pictures else dict.fromkeys(in_order))

    def _require_files(self, number: int, members: Sequence[_Member], values: Mapping[str, Any]) -> None:
        """Raise `DataError` if a row lacks its text, or its picture, and other rows of the file have them."""
        name = PurePosixPath(self._rows.keys[number]).name
        text = self._rows.ending(lambda other: other.kind == _JSON)
        if text is not None and all(member.media for member in members):
            fault = f"the file '{name}.{text}' is missing, and other rows have theirs; add it, or remove the row"
            raise DataError([Problem(self.place(number), "", fault)])
        picture = self._rows.ending(lambda other: other.media == "image")
        if picture is None or any(member.media for member in members) or not {"image", "images"}.isdisjoint(values):
            return
        column = "images" if picture.partition(".")[0].isdigit() else "image"
        fault = f"the file '{name}.{picture}' is missing, and other rows have theirs; add it, or remove the row, "
        fault += f'or, if it has no picture, say so: "{column}": null in {name}.json'
        raise DataError([Problem(self.place(number), "", fault)])

    def _content(self, number: int, member: _Member) -> Any:
        """What a file that is not JSON holds: a picture or a video, a text, or, of any other kind, its bytes."""
        if member.media is not None:
            name = PurePosixPath(self._rows.keys[number]).name
            path = None if member.media == "image" else f"{name}.{member.ending}"
            return {"bytes": self._spans.text(member.number), "path": path}
        if member.kind in _TEXTS:
            return self._text(number, member)
        content = self._spans.text(member.number)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content

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


class _Filled:
    """The columns of a row, each filled by one file."""

    def __init__(self, place: str, key: str) -> None:
        self.values: dict[str, Any] = {}
        self._place, self._name = place, PurePosixPath(key).name
        self._members: dict[tuple[str, str], _Member] = {}

    def add(self, column: str, value: Any, member: _Member, number: str = "") -> None:
        """Fill a column, or one ``number`` of a list. Raises `DataError` if another file says another thing there."""
        before = self._members.get((column, number)) or self._members.get((column, ""))
        if before is not None and self._differ(column, value, member):
            files = " and ".join(f"'{self._name}.{each.ending}'" for each in (before, member))
            text = f"two files fill this column: {files}; remove it from one of them, or give it a name of its own"
            raise DataError([Problem(self._place, column, text)])
        self._members[column, number] = member
        self.values[column] = value

    def _differ(self, column: str, value: Any, member: _Member) -> bool:
        """Whether a second file says another thing of a column than its value so far."""
        old = self.values[column]
        if member.kind == _JSON:
            return old is not None and bool(value != old)
        is_its_name = PurePosixPath(named_file(old)).name == f"{self._name}.{member.ending}"
        return old is None or not (is_its_name or (member.media is None and value == old))


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

    def ending(self, fits: Callable[[_Member], bool]) -> str | None:
        """The first ending of a file that fits, of any row; None if there is none."""
        return next((name for name in self._names if fits(_Member(name, 0))), None)

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
