"""Opening a table: a file, a folder that `datasets` saved, or a data set on the hub."""

from __future__ import annotations

import difflib
import glob
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import datasets
from datasets import Dataset
from datasets.exceptions import DatasetsError

from mdpo_core import DataError, Problem, suggestion

FORMATS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
# Either file marks a folder of save_to_disk.
_MARKS = ("state.json", "dataset_dict.json")


def open_table(path: str, split: str) -> Dataset:
    """A memory-mapped table with at least one row. Raises `DataError` that says what was found instead."""
    location = Path(path)
    with _quiet():
        if location.is_file():
            table = _from_file(location, split)
        elif location.is_dir():
            table = _from_folder(location, split)
        elif path.count("/") == 1 and location.suffix not in FORMATS and not location.parent.is_dir():
            table = _from_hub(path, split)
        else:
            raise _data_error(path, f"there is no such file or folder{file_suggestion(location)}")
    if len(table) == 0:
        raise _data_error(path, "there are no rows")
    return table


def _from_file(path: Path, split: str) -> Dataset:
    if path.suffix not in FORMATS:
        raise _data_error(path, f"'{path.suffix}' is no format of pairs; {', '.join(FORMATS)} are")
    if split != "train":
        raise _data_error(path, f"a file has no split '{split}'; leave data.split out, or give the file of that split")
    if path.stat().st_size == 0:
        raise _data_error(path, "the file is empty")
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
        return _data_error(path, "there are no rows")
    where, reason = (_json_fault(path) if FORMATS[path.suffix] == "json" else None) or (path, error.__cause__ or error)
    hint = "" if path.suffix == ".parquet" else "; rows are JSON objects: a list of them, or one a line"
    return _data_error(where, f"cannot be read as {FORMATS[path.suffix]}: {reason}{hint}")


class _Fault(NamedTuple):
    """Where a file is wrong, as in ``pairs.json:3`` or ``pairs.json row 3``, and why."""

    where: str
    reason: str


def _json_fault(path: Path) -> _Fault | None:
    """The first fault that Python's parser finds, which says more than the library does; None if there is none."""
    with path.open("rb") as file:
        return _fault_in_list(path, file.read()) if _is_list(file) else _fault_in_lines(path, file)


def _fault_in_list(path: Path, content: bytes) -> _Fault | None:
    """A file that is one list of rows: the first fault of its syntax, or the first row that is not an object."""
    rows = _parsed(path, content, first_line=1)
    if not isinstance(rows, list):
        return rows if isinstance(rows, _Fault) else None
    wrong = (number for number, row in enumerate(rows, start=1) if not isinstance(row, dict))
    row = next(wrong, None)
    return None if row is None else _Fault(f"{path} row {row}", _not_an_object(rows[row - 1]))


def _fault_in_lines(path: Path, lines: Iterable[bytes]) -> _Fault | None:
    """A file with a row on each line: the first fault of syntax, or the first row that is not an object."""
    for line, content in enumerate(lines, start=1):
        row = _parsed(path, content, first_line=line)
        if isinstance(row, _Fault):
            return row
        if not isinstance(row, dict):
            return _Fault(f"{path}:{line}", _not_an_object(row))
    return None


def _parsed(path: Path, content: bytes, first_line: int) -> object:
    """The value of a JSON text, an empty object if it is blank, or the `_Fault` at which the parser stops."""
    try:
        text = content.decode("utf-8-sig").rstrip()  # a fault at the end is in the last line, not after its break
        return json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        return _Fault(f"{path}:{first_line + error.lineno - 1}", f"{error.msg} in column {error.colno}")
    except UnicodeDecodeError as error:
        line = first_line + content[: error.start].count(b"\n")
        return _Fault(f"{path}:{line}", f"{content[error.start : error.start + 1]!r} is not UTF-8")


def _is_list(file: BinaryIO) -> bool:
    """Whether the file is one list of rows. If not, each line is a row, and may be a list by mistake."""
    first = next((line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
    has_more_lines = any(line.strip() for line in file)
    file.seek(0)
    if not first.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        return False
    try:
        json.loads(first.decode("utf-8-sig"))
    except ValueError:
        return True
    return not has_more_lines


def _not_an_object(row: object) -> str:
    """The sentence about a row such as ``[1, 2]``."""
    text = json.dumps(row)
    return f"{text if len(text) < 50 else f'{text[:40]}...'} is not an object"


def _from_folder(path: Path, split: str) -> Dataset:
    if not any((path / mark).is_file() for mark in _MARKS):
        files = [str(file) for file in sorted(path.iterdir()) if file.suffix in FORMATS]
        hint = f"; did you mean '{files[0]}'?" if files else ""
        raise _data_error(path, f"is a folder, but none that `datasets` saved with save_to_disk{hint}")
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
        reason = " ".join(str(error.__cause__ or error).split())
        raise _data_error(
            name,
            f"there is no such file or folder here, and as a name on the hub it gives: {reason}; without a network, "
            "give the path of a .json, .jsonl or .parquet file or of a folder that `datasets` saved",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off the library's progress bars and log lines, which would mix with ours; its errors say the same."""
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


def _data_error(where: str | Path, message: str) -> DataError:
    return DataError([Problem(str(where), "", message)])


def file_suggestion(path: Path) -> str:
    """``; did you mean 'x'?`` for the file beside ``path`` whose name is nearest, or nothing."""
    siblings = {file.name: str(file) for file in path.parent.iterdir()} if path.parent.is_dir() else {}
    matches = difflib.get_close_matches(path.name, sorted(siblings), n=1)
    return f"; did you mean '{siblings[matches[0]]}'?" if matches else ""
