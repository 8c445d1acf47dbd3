"""Where rows come from: a file, a folder that `datasets` saved, or the hub."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import datasets
from datasets import Dataset
from datasets.exceptions import DatasetsError

from mdpo_core import DataError, Problem
from mdpo_readers.pairs import near, near_file

FORMATS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
# Either file marks a folder of save_to_disk.
_MARKS = ("state.json", "dataset_dict.json")


def open_table(path: str, split: str) -> Dataset:
    """A memory-mapped table with at least one row. Raises `DataError` with what is there instead."""
    place = Path(path)
    with _quiet():
        if place.is_file():
            table = _from_file(place, split)
        elif place.is_dir():
            table = _from_folder(place, split)
        elif path.count("/") == 1 and place.suffix not in FORMATS and not place.parent.is_dir():
            table = _from_hub(path, split)
        else:
            raise _wrong(path, f"there is no such file or folder{near_file(place)}")
    if len(table) == 0:
        raise _wrong(path, "there are no rows")
    return table


def _from_file(path: Path, split: str) -> Dataset:
    if path.suffix not in FORMATS:
        raise _wrong(path, f"'{path.suffix}' is no format of pairs; {', '.join(FORMATS)} are")
    if split != "train":
        raise _wrong(path, f"a file has no split '{split}'; leave data.split out, or give the file of that split")
    if path.stat().st_size == 0:
        raise _wrong(path, "the file is empty")
    # The library tells files by path and modification time, which copying and unpacking may set back. The time of
    # change cannot be set. It takes the path for a pattern, hence the escape.
    version = f"changed-{path.stat().st_ctime_ns}"
    try:
        return datasets.load_dataset(
            FORMATS[path.suffix], name=version, data_files=glob.escape(str(path)), split="train"
        )
    except (DatasetsError, ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if "corresponds to no data" in str(error):
        return _wrong(path, "there are no rows")
    where, reason = (_json_fault(path) if FORMATS[path.suffix] == "json" else None) or (path, error.__cause__ or error)
    hint = "" if path.suffix == ".parquet" else "; rows are JSON objects: a list of them, or one a line"
    return _wrong(where, f"cannot be read as {FORMATS[path.suffix]}: {reason}{hint}")


def _json_fault(path: Path) -> tuple[str, str] | None:
    """Where and why Python's own parser stops, which says more than the library, or what is no object; else None."""
    with path.open("rb") as file:
        is_list = _is_list(file)
        for before, piece in enumerate([file.read()] if is_list else file):
            try:
                text = piece.decode("utf-8-sig").rstrip()  # where a line ends is not in the next one
                found = json.loads(text) if text else {}
            except json.JSONDecodeError as error:
                return f"{path}:{before + error.lineno}", f"{error.msg} in column {error.colno}"
            except UnicodeDecodeError as error:
                line = before + 1 + piece[: error.start].count(b"\n")
                return f"{path}:{line}", f"{piece[error.start : error.start + 1]!r} is not UTF-8"
            for number, row in enumerate(found if is_list else [found], start=1):
                if not isinstance(row, dict):
                    return f"{path} row {number}" if is_list else f"{path}:{before + 1}", _no_object(row)
    return None


def _is_list(file: BinaryIO) -> bool:
    """Whether a file begins with a list of several lines, or is one; rows, a line each, may be lists by mistake."""
    first = next((line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    goes_on = any(line.strip() for line in file)
    file.seek(0)
    if not first.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        return False
    try:
        json.loads(first.decode("utf-8-sig"))
    except ValueError:
        return True
    return not goes_on


def _no_object(row: object) -> str:
    """A row, such as ``[1, 2]``, as a sentence."""
    text = json.dumps(row)
    return f"{text if len(text) < 50 else f'{text[:40]}...'} is no object"


def _from_folder(path: Path, split: str) -> Dataset:
    if not any((path / mark).is_file() for mark in _MARKS):
        files = [str(file) for file in sorted(path.iterdir()) if file.suffix in FORMATS]
        hint = f"; did you mean '{files[0]}'?" if files else ""
        raise _wrong(path, f"is a folder, but none that `datasets` saved with save_to_disk{hint}")
    try:
        saved = datasets.load_from_disk(str(path))
    except IndexError as error:
        # What the library makes of a table that was saved without rows.
        raise _wrong(path, "there are no rows") from error
    except Exception as error:  # the library reads these files unchecked, and stumbles over anything
        raise _wrong(path, f"is a damaged folder of `datasets`: {error}; save it again") from error
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    if split not in splits:
        raise _wrong(path, f"there is no split '{split}'{near(split, splits)}  (splits: {', '.join(splits)})")
    return splits[split]


def _from_hub(name: str, split: str) -> Dataset:
    try:
        return datasets.load_dataset(name, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise _wrong(
            name,
            f"there is no such file or folder here, and as a name on the hub it gives: {reason}; without a network, "
            "give the path of a .json, .jsonl or .parquet file or of a folder that `datasets` saved",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and log lines, which would run into the run's own; its errors say as much."""
    log = datasets.logging
    verbosity, bars = log.get_verbosity(), datasets.are_progress_bars_disabled()
    log.set_verbosity(log.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()


def _wrong(where: str | Path, message: str) -> DataError:
    return DataError([Problem(str(where), "", message)])
