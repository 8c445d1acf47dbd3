"""MMPR (arXiv:2411.10442): a meta file that lists annotation files, or one annotation file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from mdpo_core import DataError, LazyRows, Problem, RowStream, note_file
from mdpo_readers.cell_types import shown, text
from mdpo_readers.embedded import is_embedded
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.mixture import MOST_COPIES, MixtureRows, Part
from mdpo_readers.tables.files.json_rows import values_of

if TYPE_CHECKING:
    from mdpo_readers.tables.table import Table


class Mmpr(TableReader):
    """MMPR as published: ``path`` is its ``meta.json``, or annotation files of ``{image, question, chosen, rejected}``.

    The paths in a meta file start from ``images``. Its ``repeat_time`` counts: each copy of a row has its own id.
    """

    title: ClassVar[str] = "MMPR"
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "chosen", "rejected")

    path: str | tuple[str, ...] = Field(description="the file meta.json, or annotation files as in other readers")

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        is_meta = bool(first) and all(isinstance(entry, dict) and "annotation" in entry for entry in first.values())
        picture = first.get("image")
        of_paths = isinstance(picture, str | list) and not is_embedded(picture)
        return is_meta or (set(cls.columns) <= set(columns) and of_paths)

    def first_rows(self, table: Table, count: int) -> LazyRows:
        return super().first_rows(table, count) if self._meta() is None else self.open()

    @classmethod
    def listed_in(cls, path: str) -> Sequence[tuple[str, Mapping[str, str]]]:
        meta = Path(path) / "meta.json"
        entries = _entries(meta) if Path(path).is_dir() else None
        return [(str(meta), {"path": str(meta)})] if cls.recognizes((), entries or {}, meta) else []

    def open(self) -> LazyRows:
        meta = self._meta()
        if meta is None or self.streaming:
            return super().open()
        (path, entries), parts = meta, []
        for name, entry in entries.items():
            annotation, root = (self.images / _path(path, name, key, entry) for key in ("annotation", "root"))
            if _entries(annotation) is not None:
                text = f"'{annotation}' is a meta file; list its annotation files instead"
                raise DataError([Problem(path, f"{name}.annotation", text)])
            rows = self.model_copy(update={"path": str(annotation), "images": root}).open()
            parts += [Part(name, rows, range(len(rows)), copy + 1) for copy in range(_times(path, name, entry))]
        return MixtureRows(parts)

    def stream(self) -> RowStream:
        meta = self._meta()
        if meta is None:
            return super().stream()
        text = "is a meta file, and a stream is one table; give one annotation file, or set data.streaming: false"
        raise DataError([Problem(meta[0], "", text)])

    def _meta(self) -> tuple[str, dict[str, Any]] | None:
        """The meta file and its entries; None for annotation files. Raises `DataError` if it is one of several."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        for path in paths:
            entries = _entries(Path(path))
            if entries is not None and len(paths) > 1:
                text = "is a meta file; give it alone, or name each as a source of the reader mixture"
                raise DataError([Problem(path, "", text)])
            if entries is not None:
                return path, entries
        return None

    def names_of_sources(self) -> tuple[str, ...] | None:
        return None  # a meta file names them

    def pairs(self, row: Row) -> Iterable[Pair]:
        yield Pair(asked(row["question"]), text(row["chosen"]), text(row["rejected"]), row["image"])


def _entries(path: Path) -> dict[str, Any] | None:
    """The entries of a meta file; None for an annotation file. Raises `DataError` if it cannot be read."""
    try:
        if path.suffix != ".json" or not path.is_file():
            return None
        note_file(path)
        found = values_of(path.read_bytes())
    except OSError as error:
        raise DataError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    except ValueError:  # no object, or no JSON: the table says what is wrong with it
        return None
    return found if found and all(isinstance(each, dict) for each in found.values()) else None


def _path(path: str, name: str, key: str, entry: Mapping[str, Any]) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not found:
        raise DataError([Problem(path, f"{name}.{key}", f"must be a path below data.images, found {shown(found)}")])
    return found


def _times(path: str, name: str, entry: Mapping[str, Any]) -> int:
    times = entry.get("repeat_time", 1)
    if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= MOST_COPIES:
        text = (
            f"must be a whole number from 1 to {MOST_COPIES}, found {shown(times)}; for a share use the reader mixture"
        )
        raise DataError([Problem(path, f"{name}.repeat_time", text)])
    return times
