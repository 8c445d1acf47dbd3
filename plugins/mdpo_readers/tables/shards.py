"""Which files a path means: one file, the files of a pattern, or the shards in a folder."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from mdpo_core import DataError, Problem
from mdpo_readers.tables.packed_files import kind_of

_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)")
# How the names of files begin that belong to a split, on the hub and elsewhere.
_SPLITS = ("train", "validation", "valid", "val", "dev", "test")


def matching(pattern: str) -> list[Path]:
    """The files that match a pattern, in the order of their names. Raises `DataError` if there is none."""
    files = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())  # noqa: PTH207
    if not files:
        raise DataError([Problem(pattern, "", "no file matches this pattern")])
    require_all_shards(files)
    return files


def shards_in(folder: Path, split: str, kinds: Sequence[str]) -> list[Path]:
    """The files of a folder whose rows are stored in one of these ``kinds``, all of the same, of one split.

    Files whose names begin with no split belong to any. Empty if there is none of these kinds.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and kind_of(file) in kinds]
    of_split = [file for file in files if _split_of(file) is not None]
    chosen = [file for file in of_split if _split_of(file) == split] if of_split else files
    if of_split and not chosen:
        there = ", ".join(sorted({f"{_split_of(file)}" for file in of_split}))
        raise DataError([Problem(str(folder), "", f"there are no files of the split '{split}'  (splits: {there})")])
    found = sorted({kind_of(file) for file in chosen})
    if len(found) > 1:
        text = f"contains files of several kinds: {', '.join(found)}; give a pattern, such as {folder}/*{found[0]}"
        raise DataError([Problem(str(folder), "", text)])
    require_all_shards(chosen)
    return chosen


def require_all_shards(files: Sequence[Path]) -> None:
    """Raise `DataError` if files are named as shards, such as ``x-00000-of-00002``, and some are absent."""
    numbered: dict[tuple[str, int], set[int]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.name.partition(".")[0])
        if match:
            numbered.setdefault((str(file.with_name(match[1])), int(match[3])), set()).add(int(match[2]))
    for (name, count), numbers in numbered.items():
        absent = sorted(set(range(count)) - numbers)
        if absent and not numbers >= set(range(1, count + 1)):
            text = f"{len(absent)} of {count} shards are missing, the first is number {absent[0]}"
            raise DataError([Problem(name, "", text)])


def _split_of(file: Path) -> str | None:
    word = re.split(r"[-_.]", file.name)[0]
    return word if word in _SPLITS else None
