"""What a stream reads, part after part: files, or a data set on the hub."""

from __future__ import annotations

import glob
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from datasets import IterableDataset

from mdpo_core import DataError, Problem
from mdpo_readers.tables import braces
from mdpo_readers.tables.files.json_split import require_json
from mdpo_readers.tables.files.other_kinds import require_kind
from mdpo_readers.tables.files.packed_files import kind_of, plain_file
from mdpo_readers.tables.hub import HubOptions
from mdpo_readers.tables.shards import matching, require_none_below, require_once, shards_in
from mdpo_readers.tables.splits import Split

KINDS = (".jsonl", ".ndjson", ".parquet")
_BOM = b"\xef\xbb\xbf"


class PartRows(Iterator[dict[str, Any] | bytes]):
    """The rows of a part, from a place on: values by column, or lines of JSON."""

    @abstractmethod
    def state(self) -> Any:
        """What `Part.open` needs to go on after the last row, besides the number of rows, as JSON values."""


class Part(NamedTuple):
    """A file or a data set. ``open(row, state)`` goes on after ``row`` rows; it may raise any error of `datasets`."""

    name: str
    open: Callable[[int, Any], PartRows]


class Lines(PartRows):
    """The lines of a file that are not empty."""

    def __init__(self, file: Path, row: int, state: None) -> None:
        self._lines = islice(_lines_of(file), row, None)

    def __next__(self) -> bytes:
        return next(self._lines)

    def state(self) -> None:
        return None


class ArrowRows(PartRows):
    """The rows that `datasets` streams; it knows where to go on."""

    def __init__(self, opened: Callable[[], IterableDataset], row: int, state: Any) -> None:
        self._source = opened().with_format("arrow")
        if state is not None:
            self._source.load_state_dict(state)
        self._rows = iter(self._source)

    def __next__(self) -> dict[str, Any]:
        values: dict[str, Any] = next(self._rows).to_pylist()[0]
        return values

    def state(self) -> Any:
        return json.loads(json.dumps(self._source.state_dict()))  # not the library's own, which goes on


def parts_of(path: str | Sequence[str], split: str, hub: HubOptions) -> list[Part]:
    """The parts of a source, in order; at least one. Raises `DataError` if it cannot be streamed.

    ``path``: a file, a pattern of files, a folder of files, a name on the hub, or a list of these.
    """
    chosen = Split.of(split)
    if chosen.rows(10) != range(10):
        text = f"a slice, {split}, needs the number of rows, which a stream does not have"
        raise DataError([Problem("data.split", "", text)])
    paths = [path] if isinstance(path, str) else path
    seen: set[Path] = set()
    return [part for each in paths for part in _parts(each, chosen.name, hub, seen)]


def _parts(path: str, split: str, hub: HubOptions, seen: set[Path]) -> list[Part]:
    files = _files(path, split)
    require_once(files, seen)
    if not files:
        return [Part(path, partial(ArrowRows, partial(_opened, path, split, name=hub.config, revision=hub.revision)))]
    other = next((file for file in files if kind_of(file) not in KINDS), None)
    if other is not None:
        text = f"{kind_of(other) or 'this file'} cannot be streamed; write {' or '.join(KINDS)}"
        raise DataError([Problem(str(other), "", text)])
    return [_part(file) for file in files]


def _part(file: Path) -> Part:
    if kind_of(file) != ".parquet":
        # Not the library's JSON, which would change values so that all rows have the same types.
        return Part(str(file), partial(Lines, file))
    with file.open("rb") as content:
        require_kind(file, content, "parquet")
    name = glob.escape(str(file))  # the library reads a path as a pattern
    return Part(str(file), partial(ArrowRows, partial(_opened, "parquet", "train", data_files=[name])))


def _opened(path: str, split: str, **options: Any) -> IterableDataset:
    return datasets.load_dataset(path, split=split, streaming=True, **options)


def _lines_of(file: Path) -> Iterator[bytes]:
    with plain_file(file).open("rb") as content:
        require_json(file, content)
        for number, line in enumerate(content):
            text = line.removeprefix(_BOM) if number == 0 else line
            if text.strip():
                yield text


def _files(path: str, split: str) -> list[Path]:
    """The files of a source; none for a name on the hub."""
    location = Path(path)
    if location.is_file():
        return [location]
    if location.is_dir():
        files = shards_in(location, split, KINDS) or _absent(path)
        require_none_below(location, files, split, KINDS)
        return files
    if braces.are_in(path):
        return [file for each in braces.expanded(path) for file in _files(each, split)]
    if glob.has_magic(path):
        return matching(path, split)
    return [] if path.count("/") == 1 and not location.parent.is_dir() else _absent(path)


def _absent(path: str) -> list[Path]:
    raise DataError([Problem(path, "", f"neither a file nor a folder with {', '.join(KINDS)} has this name")])
