"""Writes new data: the rows that were read, with new responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mdpo_core.errors import CheckpointError, DataError, Problem
from mdpo_core.registry.discovery import make_component
from mdpo_core.remedies import option
from mdpo_core.storage.files import atomic_file, atomic_folder
from mdpo_core.types.example import Example, ExampleField, Prompt

if TYPE_CHECKING:
    from mdpo_core.interfaces.reader import Reader, StoredRows

SOURCE = "source_"
_PROMPT, _ID, _BEGINNING = "prompt", "id", "beginning_of_answer"
# Names, or beginnings of names, of columns that describe replaced answers.
_OF_ANSWERS = ("chosen_", "rejected_", "preference_probability", "low_confidence")
_PARTS: tuple[ExampleField, ...] = ("other_images", "other_prompts", "vectors", "boxes")


class NewRow(NamedTuple):
    """A new row: the index of its source row in the data, its new responses, and its new columns."""

    row: int
    responses: Mapping[str, str]
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class ExamplesAsRows:
    """`StoredRows` for a reader without stored columns: the examples, in columns that the `pairs` reader can read."""

    data: Sequence[Example]
    first: int = 0  # a valid row; all rows have the same names as this one
    embeds_images: bool = True

    @cached_property
    def _first(self) -> Example:
        return self.data[self.first]

    def stored(self, index: int) -> dict[str, Any]:
        example = self.data[index]
        row: dict[str, Any] = {_ID: example.id, _PROMPT: _messages(example.prompt)}
        if example.begun is not None:
            row[_BEGINNING] = example.begun.text
        _require_alike(example, self._first)
        row |= example.responses
        row |= example.columns
        row |= {_column("other_prompts", name): _messages(prompt) for name, prompt in example.other_prompts.items()}
        row |= {_column("vectors", name): list(vector) for name, vector in example.vectors.items()}
        # Empty lists would not show how deeply they are nested.
        row |= {_column("boxes", name): boxes if any(boxes) else None for name, boxes in example.boxes.items()}
        return row

    def require_alike(self, index: int) -> None:
        """Raise `DataError` unless one reader can say how the answers of this row and of the first are begun."""
        _require_alike(self.data[index], self._first)

    def cells(self, index: int, responses: Mapping[str, str], images: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        return {**responses, **{_column("other_images", name): list(files) for name, files in images.items()}}

    def reader(self, path: Path, images: Path | None, responses: Sequence[str], columns: Sequence[str]) -> Reader:
        first = self._first
        options: dict[str, Any] = {
            "path": str(path),
            "images": str(images or path.parent),
            "image": None if images is None else _column("other_images", ""),
            "responses": {name: name for name in responses},
            **{part: {name: _column(part, name) for name in getattr(first, part)} for part in _PARTS},
            "columns": tuple(columns),
            "id": _ID,
        }
        if first.begun is not None:
            options |= {"beginning": _BEGINNING, "joint": first.begun.joint, "unfinished": first.begun.unfinished}
        return cast("Reader", make_component("reader", "pairs", **options))


def _require_alike(example: Example, first: Example) -> None:
    """Raise `DataError` unless the options of one reader can say how the answers of both rows are begun."""
    ways = [None if each.begun is None else (each.begun.joint, each.begun.unfinished) for each in (example, first)]
    if ways[0] == ways[1] or (example.begun is None and first.begun is not None and not first.begun.unfinished):
        return
    text = (
        f"its answers are begun in another way than those of example '{first.id}', and one file of pairs is read "
        "in one way (the options beginning, joint and unfinished); write the rows of each source into a file of its own"
    )
    raise DataError([Problem(f"example '{example.id}'", "", text)])


@dataclass(frozen=True)
class NewPairsFile:
    """A JSONL file of pairs, and the folder ``OUT.images`` for images that are not in files yet.

    ``first``: a valid row of the data. ``replaces``: a new row only has the new responses; otherwise also the old ones.
    """

    path: Path
    data: Sequence[Example]
    first: int = 0
    replaces: bool = False

    def require_alike(self, rows: Iterable[int]) -> None:
        """Raise `DataError` unless one reader can read all of ``rows``, of which there is one of each source."""
        if isinstance(self.rows, ExamplesAsRows):
            for row in rows:
                self.rows.require_alike(row)

    @cached_property
    def rows(self) -> StoredRows:
        """The stored rows of the reader; if it gives none, its examples as rows."""
        stored: StoredRows = getattr(self.data, "as_stored", ExamplesAsRows(self.data, self.first))
        return stored

    @property
    def images(self) -> Path:
        """The folder, beside this file, for its images."""
        return self.path.with_name(f"{self.path.name}.images")

    def require_free(self) -> None:
        """Raise `CheckpointError` if the folder for the images already exists."""
        if self.images.exists():
            raise CheckpointError(f"{self.images} already exists; choose another file with {option('--out FILE')}")

    def write(self, rows: Sequence[NewRow]) -> Reader:
        """Write rows, at least one, and their images. Returns the reader of the new file."""
        pictures = self._write_pictures(rows)
        with atomic_file(self.path) as file:
            for new in rows:
                file.write(_line(self._columns(new, pictures), f"row {new.row + 1}"))
        old = self.data[self.first]
        kept = () if self.replaces else old.responses
        responses = dict.fromkeys([*kept, *(name for new in rows for name in new.responses)])
        stale = self.stale(rows)
        columns = dict.fromkeys([*(name for name in old.columns if name not in stale), *_numbers(rows)])
        return self.rows.reader(self.path, self.images if pictures else None, list(responses), list(columns))

    def stale(self, rows: Sequence[NewRow]) -> list[str]:
        """Numeric columns that describe the old answers and get no new values; the new reader does not read them."""
        old = self.data[self.first].columns
        return [name for name in old if name.startswith(_OF_ANSWERS) and name not in _numbers(rows)]

    def _columns(self, new: NewRow, pictures: Mapping[int, Mapping[str, Sequence[str]]]) -> dict[str, Any]:
        row = self.rows.stored(new.row)
        cells = self.rows.cells(new.row, new.responses, pictures.get(new.row, {}))
        for column, value in (cells | dict(new.columns)).items():
            if column in row:
                row[_free(column, row)] = row[column]
            row[column] = value
        return row

    def _write_pictures(self, rows: Sequence[NewRow]) -> dict[int, dict[str, list[str]]]:
        """The image files of each row, by name; empty if no row has an image, or if the rows name files themselves."""
        if not self.rows.embeds_images:
            return {}
        with _made_if_used(self.images) as folder:
            files_of = {new.row: _saved(self.data[new.row], folder, new.row) for new in rows}
        return files_of if any(files for by_name in files_of.values() for files in by_name.values()) else {}


def _numbers(rows: Sequence[NewRow]) -> list[str]:
    """The numeric columns that the new rows set."""
    return [name for name, value in rows[0].columns.items() if isinstance(value, float)]


@contextmanager
def _made_if_used(path: Path) -> Iterator[Path]:
    with atomic_folder(path) as folder:
        yield folder
        used = any(folder.iterdir())
    if not used:
        path.rmdir()


def _saved(example: Example, folder: Path, row: int) -> dict[str, list[str]]:
    """Save the images of a row. Returns their file names, by the name of the images."""
    files: dict[str, list[str]] = {}
    for name, images in {"": example.images, **example.other_images}.items():
        files[name] = [
            f"{'-'.join(filter(None, (f'{row + 1:07d}', name, str(index))))}.png" for index in range(len(images))
        ]
        for file, image in zip(files[name], images, strict=True):
            image.save(folder / file)
    return files


def _messages(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt if isinstance(prompt, str) else [{"role": turn.role, "content": turn.text} for turn in prompt]


def _column(part: ExampleField, name: str) -> str:
    """The column for a named part; the prefix keeps the names of different parts apart."""
    if part == "other_images" and not name:
        return "img_path"
    return f"{part}_{name}"


def _free(column: str, row: Mapping[str, Any]) -> str:
    """``source_<column>``, or, if that name is taken, with more prefixes."""
    name = SOURCE + column
    while name in row:
        name = SOURCE + name
    return name


def _line(row: Mapping[str, Any], location: str) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise DataError([Problem(location, "", f"cannot be written as JSON: {error}")]) from error
