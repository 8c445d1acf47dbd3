"""Open a table: a file, a folder that `datasets` saved, or a data set on the hub."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import DataError, Problem, note_file, suggestion
from mdpo_readers.cell_types import MissingFile, shown
from mdpo_readers.tables import braces
from mdpo_readers.tables.datasets_library import cache_problem, is_for_no_rows, quiet
from mdpo_readers.tables.files.csv_table import SEPARATORS, CsvTable
from mdpo_readers.tables.files.json_table import JsonTable
from mdpo_readers.tables.files.keyed_table import with_keys
from mdpo_readers.tables.files.packed_files import kind_of
from mdpo_readers.tables.files.tar_table import TarTable
from mdpo_readers.tables.hub import HubOptions, open_hub
from mdpo_readers.tables.image_folder import METADATA, ImageFolder
from mdpo_readers.tables.joined_table import JoinedTable
from mdpo_readers.tables.part_table import PartTable
from mdpo_readers.tables.shards import (
    SAVED,
    is_of_another,
    matching,
    require_links,
    require_none_below,
    require_once,
    shards_in,
)
from mdpo_readers.tables.splits import Split
from mdpo_readers.tables.table import Table

if TYPE_CHECKING:
    from datasets import Dataset

_JSON = (".json", ".jsonl", ".ndjson")
_TAR = ".tar"  # of WebDataset
FORMATS = (*_JSON, ".parquet", *SEPARATORS, _TAR)


def open_table(path: str | Sequence[str], split: str, config: str | None = None, revision: str | None = None) -> Table:
    """Open a table with at least one row; raise `DataError` if there is none at ``path``.

    ``path``: a file, a pattern of files, a folder of files, one that `datasets` saved, a name on the hub, or a list of
    all these. ``split``: also a slice, of all rows together. ``config`` and ``revision``: see `open_hub`.
    """
    paths = [path] if isinstance(path, str) else path
    chosen, hub = Split.of(split), HubOptions(config, revision)
    seen: set[Path] = set()
    tables = [_readable(each, chosen.name, hub, seen) for each in paths]
    for each, table in zip(paths, tables, strict=True):
        if len(table) == 0:
            raise _data_error(each, "there are no rows")
    joined = _joined(tables)
    rows = chosen.rows(len(joined))
    if not rows:
        raise _data_error(paths[0], f"the slice {split} has none of the {len(joined)} rows")
    return joined if len(rows) == len(joined) else PartTable(joined, rows)


def _readable(path: str, split: str, hub: HubOptions, seen: set[Path]) -> Table:
    """``seen``: the files of the paths before it, to which its own are added."""
    try:
        return _opened(path, Path(path), split, hub, seen)
    except OSError as error:  # no permission, or a disk that fails
        raise _data_error(path, f"cannot be read: {error.strerror or error}") from error


def _opened(path: str, location: Path, split: str, hub: HubOptions, seen: set[Path]) -> Table:
    try:
        is_file, is_folder = location.is_file(), location.is_dir()
    except OSError as error:  # the name is too long, or a folder is not accessible
        raise _data_error(shown(path), f"is not a path that can be read: {error.strerror}") from error
    if hub != HubOptions() and (is_file or is_folder or glob.has_magic(path)):
        raise _data_error(path, "data.config and data.revision are for a name on the hub; leave them out for files")
    if is_file:
        return _from_files([location], split, seen)
    if is_folder:
        return _from_folder(location, split, seen)
    if braces.are_in(path):
        return _joined([_opened(each, Path(each), split, hub, seen) for each in braces.expanded(path)])
    if glob.has_magic(path):
        return _from_files(matching(path, split), "train", seen)
    if path.count("/") == 1 and kind_of(location) not in FORMATS and not location.parent.is_dir():
        return _from_hub(path, split, hub)
    require_links([location])
    raise MissingFile(
        [Problem(path, "", f"the file or folder does not exist{_elsewhere(path) or file_suggestion(location)}")]
    )


def _elsewhere(path: str) -> str:
    """What to do about a path that is an address, or that only a shell understands; empty for any other."""
    if path.startswith("file://"):
        return "; write the path of the file, without file://"
    if path.startswith("hf://datasets/"):
        return "; write the name of the data set on the hub, OWNER/NAME, with data.config and data.revision"
    if "://" in path:
        return "; an address is not read: download the file, and give its path"
    if path.startswith("~") or "$" in path:
        return "; only a shell knows ~ and $: write the whole path"
    return ""


def _from_files(files: Sequence[Path], split: str, seen: set[Path]) -> Table:
    require_once(files, seen)
    return _joined([_with_pictures(file, _from_file(file, split)) for file in files])


def _from_file(path: Path, split: str) -> Table:
    note_file(path)
    kind = kind_of(path)
    if kind not in FORMATS:
        raise _data_error(path, f"'{path.suffix}' is not a supported format; use {', '.join(FORMATS)}")
    if split != "train":
        raise _data_error(path, f"a file has no split '{split}'; leave data.split out, or give the file of that split")
    if path.stat().st_size == 0:
        raise _data_error(path, "the file is empty: write it again, or download it again")
    if kind == _TAR:
        if path.suffix.lower() != kind:
            raise _data_error(path, "rows of a packed tar file cannot be found; unpack it to .tar")
        return TarTable.of(path)
    if kind in SEPARATORS:
        return CsvTable.of(path)
    if kind in _JSON:
        return with_keys(JsonTable.of(path), str(path))
    if path.suffix.lower() != kind:
        raise _data_error(path, "Parquet is packed by itself; unpack the file")
    return _from_parquet(path)


def _joined(tables: Sequence[Table]) -> Table:
    """All rows; shards without rows, which some programs write, bring no columns."""
    filled = [table for table in tables if len(table)] or tables[:1]
    return filled[0] if len(filled) == 1 else JoinedTable(filled)


def _from_parquet(path: Path) -> Table:
    # The library takes half a second to import; tables of lines do without it.
    from mdpo_readers.tables.files.parquet_table import open_parquet

    try:
        with quiet():
            return open_parquet(path)
    except DataError:
        raise
    except Exception as error:  # the library may raise any error for a damaged file
        if is_for_no_rows(error):
            raise _data_error(path, "there are no rows") from error
        cache = cache_problem(error)
        reason = f"cannot be read as parquet: {' '.join(str(error.__cause__ or error).split()).rstrip('.')}"
        again = "; the file is damaged: download it, or write it, again"
        raise DataError([cache or Problem(str(path), "", reason + again)]) from error


def _from_folder(path: Path, split: str, seen: set[Path]) -> Table:
    if any((path / mark).is_file() for mark in SAVED):
        from mdpo_readers.tables.arrow_table import ArrowTable

        require_once([path], seen)
        note_below(path)
        return ArrowTable(str(path), _saved(path, split))
    files = shards_in(path, split, FORMATS) or _in_folders_below(path, split)
    if not files:
        raise _data_error(path, f"is a folder without data: no {', '.join(FORMATS)}, and not saved by `datasets`")
    require_none_below(files[0].parent, files, split, FORMATS)
    return _from_files(files, "train", seen)


def _with_pictures(file: Path, table: Table) -> Table:
    return ImageFolder(table, file.parent) if file.name.partition(".")[0] == METADATA else table


def _in_folders_below(path: Path, split: str) -> Sequence[Path]:
    """The files in the only folder below ``path`` that has data of the split."""
    folders = [each for each in sorted(path.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    mine = [each for each in folders if not is_of_another(each.name, split)]
    found = {each: files for each in mine if (files := shards_in(each, split, FORMATS))}
    if len(found) > 1:
        there = ", ".join(each.name for each in found)
        raise _data_error(path, f"has data in several folders: {there}; give one of them, such as {next(iter(found))}")
    return next(iter(found.values()), ())


def _saved(path: Path, split: str) -> Dataset:
    import datasets

    try:
        with quiet():
            saved = datasets.load_from_disk(str(path))
    except IndexError as error:
        # The library raises this for a table that was saved without rows.
        raise _data_error(path, "there are no rows") from error
    except Exception as error:  # the library does not check these files, and may raise any error
        raise _data_error(path, f"is a damaged folder of `datasets`: {error}; save it again") from error
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    if split not in splits:
        raise _data_error(
            path, f"the split '{split}' does not exist{suggestion(split, splits)}  (splits: {', '.join(splits)})"
        )
    return splits[split]


def _from_hub(name: str, split: str, hub: HubOptions) -> Table:
    from datasets import Dataset
    from datasets.exceptions import DatasetsError

    from mdpo_readers.tables.arrow_table import ArrowTable

    try:
        with quiet():
            found = open_hub(name, split, hub, FORMATS)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        cache = cache_problem(error)
        if cache is not None:
            raise DataError([cache]) from error
        reason = " ".join(str(error.__cause__ or error).split())
        raise _data_error(
            name,
            f"the file or folder does not exist, and the hub cannot load this name: {reason}; without a network, "
            "give the path of a .json, .jsonl or .parquet file, or of a folder that `datasets` saved",
        ) from error
    if isinstance(found, Dataset):
        for file in found.cache_files:
            note_file(Path(file["filename"]))
        return ArrowTable(name, found)
    if isinstance(found, Path):
        return _from_folder(found, split, set())
    return _joined([_from_file(file, "train") for file in found])


def note_below(folder: Path) -> None:
    """Note every file below a folder."""
    for file in sorted(folder.rglob("*")):
        note_file(file)


def _data_error(where: str | Path, message: str) -> DataError:
    return DataError([Problem(str(where), "", message)])


def file_suggestion(path: Path) -> str:
    """``; did you mean 'x'?`` for the data or folder beside ``path`` with the most similar name, or an empty text."""
    files = path.parent.iterdir() if path.parent.is_dir() else ()
    siblings = {file.name: str(file) for file in files if file.is_dir() or kind_of(file) in FORMATS}
    matches = difflib.get_close_matches(path.name, sorted(siblings), n=1)
    return f"; did you mean '{siblings[matches[0]]}'?" if matches else ""
