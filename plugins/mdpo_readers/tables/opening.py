"""Open a table: a file, a folder that `datasets` saved, or a data set on the hub."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path

import datasets
from datasets import Dataset
from datasets.exceptions import DatasetsError

from mdpo_core import DataError, Problem, suggestion
from mdpo_readers.cell_types import shown
from mdpo_readers.tables.datasets_library import cache_problem, is_for_no_rows, quiet
from mdpo_readers.tables.json_table import JsonTable
from mdpo_readers.tables.table import ArrowTable, Table

_JSON = (".json", ".jsonl")
FORMATS = (*_JSON, ".parquet")
# A folder that save_to_disk wrote contains one of these files.
_MARKS = ("state.json", "dataset_dict.json")


def open_table(path: str, split: str) -> Table:
    """Open a table with at least one row; raise `DataError` if there is none at ``path``."""
    with quiet():
        table = _opened(path, Path(path), split)
    if len(table) == 0:
        raise _data_error(path, "there are no rows")
    return table


def _opened(path: str, location: Path, split: str) -> Table:
    try:
        is_file, is_folder = location.is_file(), location.is_dir()
    except OSError as error:  # the name is too long, or a folder is not accessible
        raise _data_error(shown(path), f"is not a path that can be read: {error.strerror}") from error
    if is_file:
        return _from_file(location, split)
    if is_folder:
        return ArrowTable(path, _from_folder(location, split))
    if path.count("/") == 1 and location.suffix not in FORMATS and not location.parent.is_dir():
        return ArrowTable(path, _from_hub(path, split))
    raise _data_error(path, f"there is no such file or folder{file_suggestion(location)}")


def _from_file(path: Path, split: str) -> Table:
    if path.suffix not in FORMATS:
        raise _data_error(path, f"'{path.suffix}' is not a supported format; use {', '.join(FORMATS)}")
    if split != "train":
        raise _data_error(path, f"a file has no split '{split}'; leave data.split out, or give the file of that split")
    if path.stat().st_size == 0:
        raise _data_error(path, "the file is empty")
    return JsonTable.of(path) if path.suffix in _JSON else ArrowTable(str(path), _from_parquet(path))


def _from_parquet(path: Path) -> Dataset:
    # The library's cache knows a file by its path and modification time, which copying and unpacking may set back.
    # Nothing can set the change time back, so it is part of the name here. The library reads the path as a pattern,
    # so the path is escaped.
    version = f"changed-{path.stat().st_ctime_ns}"
    try:
        return Dataset.from_parquet(glob.escape(str(path)), config_name=version)
    except Exception as error:  # the library may raise any error for a damaged file
        if is_for_no_rows(error):
            raise _data_error(path, "there are no rows") from error
        cache = cache_problem(error)
        reason = f"cannot be read as parquet: {' '.join(str(error.__cause__ or error).split())}"
        raise DataError([cache or Problem(str(path), "", reason)]) from error


def _from_folder(path: Path, split: str) -> Dataset:
    if not any((path / mark).is_file() for mark in _MARKS):
        files = [str(file) for file in sorted(path.iterdir()) if file.suffix in FORMATS]
        hint = f"; did you mean '{files[0]}'?" if files else ""
        raise _data_error(path, f"is a folder that `datasets` did not save with save_to_disk{hint}")
    try:
        saved = datasets.load_from_disk(str(path))
    except IndexError as error:
        # The library raises this for a table that was saved without rows.
        raise _data_error(path, "there are no rows") from error
    except Exception as error:  # the library does not check these files, and may raise any error
        raise _data_error(path, f"is a damaged folder of `datasets`: {error}; save it again") from error
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    if split not in splits:
        raise _data_error(
            path, f"there is no split '{split}'{suggestion(split, splits)}  (splits: {', '.join(splits)})"
        )
    return splits[split]


def _from_hub(name: str, split: str) -> Dataset:
    try:
        return datasets.load_dataset(name, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        cache = cache_problem(error)
        if cache is not None:
            raise DataError([cache]) from error
        reason = " ".join(str(error.__cause__ or error).split())
        raise _data_error(
            name,
            f"there is no such file or folder, and the hub cannot load this name: {reason}; without a network, "
            "give the path of a .json, .jsonl or .parquet file, or of a folder that `datasets` saved",
        ) from error


def _data_error(where: str | Path, message: str) -> DataError:
    return DataError([Problem(str(where), "", message)])


def file_suggestion(path: Path) -> str:
    """``; did you mean 'x'?`` for the file beside ``path`` with the most similar name, or an empty text."""
    siblings = {file.name: str(file) for file in path.parent.iterdir()} if path.parent.is_dir() else {}
    matches = difflib.get_close_matches(path.name, sorted(siblings), n=1)
    return f"; did you mean '{siblings[matches[0]]}'?" if matches else ""
