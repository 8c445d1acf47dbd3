"""The line of a recipe that reads a table, with the folder of its pictures, which is found by trying."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from mdpo_core import DataError, Example, LazyRows
from mdpo_readers.cell_types import MissingFile, yaml_path
from mdpo_readers.embedded import has_bytes_of_picture, names_picture
from mdpo_readers.formats.written import meant
from mdpo_readers.tables.table import Table

_ROWS = 5  # that are read to try a folder
_MORE_ROWS = 200  # whose files are looked for in each of several folders that have the pictures of the first ones
_SHOWN = 3  # folders in a note
_FOLDERS = 200  # that are tried
_DEPTH = 3  # of folders below the one with the data
_OF_PICTURES = re.compile(r"(images?|imgs?|pics?|pictures?|photos?|frames?|media|videos?)", re.IGNORECASE)
_UNKNOWN = "FOLDER"
_NOWHERE = (
    f"no folder near the data has the pictures of the first rows: write theirs in place of {_UNKNOWN}, or download the "
    "pictures"
)
COLUMN = "COLUMN"  # stands where the user has to choose one


class Tried(Protocol):
    """What this module asks of a reader: its first rows can be read from an opened table."""

    @classmethod
    def component_name(cls) -> str:
        """See `Component`."""

    @classmethod
    def model_validate(cls, obj: Any, /) -> Self:
        """The reader with these options. Raises `ValueError`."""

    def image_folder(self) -> Path:
        """The folder from which the paths of pictures start."""

    def first_rows(self, table: Table, count: int) -> LazyRows:
        """The pairs of the first ``count`` rows. Raises `DataError` if the table does not fit."""


class Line(NamedTuple):
    """A line of a recipe, and the first pair that it gives, if it gives one.

    ``problem``: why it does not read the first rows as it stands, and what to do; empty text if it reads them.
    ``note``: which other folders have the pictures, too.
    """

    text: str
    first: Example | None = None
    problem: str = ""
    note: str = ""


def line_of(reader: type[Tried], options: Mapping[str, Any]) -> str:
    """A line of a recipe."""
    return f"data: {_flow({'reader': reader.component_name(), **options})}"


def line_for(reader: type[Tried], options: Mapping[str, Any], table: Table) -> Line:
    """The line of a recipe that reads ``table`` with these options.

    ``images`` is added if the pictures of the first rows are files elsewhere; FOLDER stands there if no folder near the
    data has them.
    """
    used, note = _with_images(reader, options, table)
    first, problem = _first_pair(reader, used, table)
    return Line(line_of(reader, used), first, problem, note)


def _with_images(reader: type[Tried], options: Mapping[str, Any], table: Table) -> tuple[dict[str, Any], str]:
    """The options with the folder of the pictures, and a note if another folder has them, too."""
    lacking = _num_lacking(reader, options, table)
    if not lacking:
        return dict(options), ""
    folders = {folder.resolve(): folder for folder in reversed([*_folders_near(str(options["path"]))])}
    near = [*reversed(folders.values())]
    counts = [_num_lacking(reader, {**options, "images": str(folder)}, table) for folder in near]
    fewest = min(counts, default=lacking)
    if fewest >= lacking:
        return {**options, "images": _UNKNOWN}, ""
    fitting = [folder for folder, count in zip(near, counts, strict=True) if count == fewest]
    if len(fitting) > 1:
        fitting.sort(key=lambda folder: (_num_stored_lacking(folder, table, _MORE_ROWS), not _is_usual(folder)))
    chosen, *others = fitting
    # A reader may find a picture in a folder below the one that is named.
    return {**options, "images": str(chosen)}, _note([each for each in others if chosen not in each.parents])


def _is_usual(folder: Path) -> bool:
    return _OF_PICTURES.fullmatch(folder.name) is not None


def _note(others: Sequence[Path]) -> str:
    if not others:
        return ""
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    shown = ", ".join(map(str, others[:_SHOWN])) + more
    return f"{shown} {'has' if len(others) == 1 else 'have'} pictures of these names, too: is images the right folder?"


def _first_pair(reader: type[Tried], options: Mapping[str, Any], table: Table) -> tuple[Example | None, str]:
    """The first pair of the first rows, and why one of them cannot be read."""
    if COLUMN in str({**options, "path": ""}):
        return None, f"write the name of a column in place of each {COLUMN}"
    first, problem = None, ""
    try:
        rows = reader.model_validate(options).first_rows(table, _ROWS)
        for number in range(len(rows)):
            try:
                example = rows[number]
                first = example if first is None else first
            except DataError as error:
                is_known = isinstance(error, MissingFile) and options.get("images") == _UNKNOWN
                problem = problem or ("" if is_known else _in_one_line(error))
    except (ValueError, DataError) as error:
        problem = _in_one_line(error)
    if options.get("images") == _UNKNOWN:
        problem = _NOWHERE + (f"; and {problem}" if problem else "")
    return first, problem


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _num_lacking(reader: type[Tried], options: Mapping[str, Any], table: Table) -> int:
    """How many of the first rows lack a file. If none can be read, the paths that are stored in them are tried."""
    root = Path(str(options.get("images", "")))
    try:
        made = reader.model_validate(options)
        root = made.image_folder()
        rows = made.first_rows(table, _ROWS)
        found = [_lacks_file(rows, number) for number in range(len(rows))]
    except MissingFile:
        return _ROWS
    except (ValueError, DataError):  # an option is left for the user to fill in
        found = []
    return _num_stored_lacking(root, table, _ROWS) if set(found) <= {None} else found.count(True)


def _lacks_file(rows: LazyRows, number: int) -> bool | None:
    """Whether a row lacks a file; None if it is bad for another reason."""
    try:
        rows.row(number)
    except MissingFile:
        return True
    except DataError:
        return None
    return False


def _num_stored_lacking(root: Path, table: Table, most: int) -> int:
    """How many of the first ``most`` rows name pictures of which none is below ``root``, in whatever columns."""
    lacking = 0
    for number in range(min(most, len(table))):
        with suppress(DataError):
            files = list(_named_in(meant(table.row(number))))
            lacking += bool(files) and not any(_is_file(root, each) for each in files)
    return lacking


def _named_in(value: object) -> Iterator[str]:
    """The files of pictures that a stored value names."""
    if has_bytes_of_picture(value):
        return
    if isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _named_in(each)
    elif isinstance(value, str) and names_picture(value) and "://" not in value:
        yield value


def _is_file(root: Path, name: str) -> bool:
    try:
        return (root / name).is_file()
    except (OSError, ValueError):  # such as too long a name
        return False


def _folders_near(path: str) -> Iterator[Path]:
    """The folder with the data and those below it, then the one above, and folders of pictures in that."""
    fixed = Path(path.partition("*")[0].partition("?")[0].partition("[")[0])
    base = fixed if fixed.is_dir() else fixed.parent
    nearest = list(_below(base, _DEPTH, _FOLDERS))
    above = base.resolve().parent
    up = base.parent if base.name not in ("", "..") else Path(os.path.relpath(above))
    named = [each for each in _folders_in(up) if _is_usual(each)]
    beside = [folder for each in named for folder in _below(each, 1, _FOLDERS)]
    yield from dict.fromkeys([*nearest, *([] if above == above.parent else [up, *beside])])


def _below(folder: Path, depth: int, most: int) -> Iterator[Path]:
    """A folder, and the folders below it, the nearest first."""
    level = [folder]
    for _ in range(depth + 1):
        level = level[:most]
        most -= len(level)
        yield from level
        level = [each for parent in level for each in _folders_in(parent)]


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:  # such as a folder that may not be entered
        return []
    return [folder / name for name in sorted(names)]


def _flow(value: Any) -> str:
    """A value as a line of YAML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    return yaml_path(value) if isinstance(value, str) else json.dumps(value)
