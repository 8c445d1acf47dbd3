"""Which files a path means: one file, the files of a pattern, or the shards in a folder."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.packed_files import PACKED, kind_of

# With the hash that the hub once put behind.
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(-[0-9a-f]+)?")
# How the names of files begin that belong to a split, on the hub and elsewhere.
_SPLITS = ("train", "validation", "valid", "val", "dev", "test")
# Files beside the data that tell about them.
_METADATA = ("config.json", "dataset_info.json", "dataset_infos.json", "meta.json")


def matching(pattern: str, split: str) -> list[Path]:
    """The files of a split that match a pattern, in the order of their names. Raises `DataError` if there is none."""
    files = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())  # noqa: PTH207
    if not files:
        raise DataError([Problem(pattern, "", "no file matches this pattern")])
    chosen = _of_split(pattern, files, split)
    require_all_shards(chosen)
    return chosen


def shards_in(folder: Path, split: str, kinds: Sequence[str]) -> list[Path]:
    """The files of a folder whose rows are stored in one of these ``kinds``, all of the same, of one split.

    Empty if there is none of these kinds. Raises `DataError` if it is unclear which files belong together.
    """
    named = (file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.name not in _METADATA)
    files = [file for file in named if file.is_file() and kind_of(file) in kinds]
    chosen = _of_split(str(folder), files, split) if files else []
    found = sorted({kind_of(file) for file in chosen})
    if len(found) > 1:
        text = f"contains files of several kinds: {', '.join(found)}; give a pattern, such as {folder}/*{found[0]}"
        raise DataError([Problem(str(folder), "", text)])
    stems = [file.name.removesuffix(file.suffix) if file.suffix in PACKED else file.name for file in chosen]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DataError([Problem(str(folder), "", f"contains {twice} both packed and unpacked; give a pattern")])
    require_all_shards(chosen)
    return chosen


def _of_split(source: str, files: Sequence[Path], split: str) -> list[Path]:
    """The files whose names begin with the split; all, if no name does so, and ``source`` is a folder of that name."""
    splits = {_split_of(file) for file in files}
    if splits == {None}:
        if split not in ("train", Path(source).name):
            raise DataError([Problem(source, "", f"no file name begins with the split '{split}'")])
        return list(files)
    if None in splits:
        other = next(file.name for file in files if _split_of(file) is None)
        text = f"some files begin with a split, such as train, and others do not, such as {other}; give a pattern"
        raise DataError([Problem(source, "", text)])
    if split not in splits:
        there = ", ".join(sorted(str(each) for each in splits))
        raise DataError([Problem(source, "", f"there are no files of the split '{split}'  (splits: {there})")])
    return [file for file in files if _split_of(file) == split]


def require_all_shards(files: Sequence[Path]) -> None:
    """Raise `DataError` if files are named as shards, such as ``x-00000-of-00002``, and some are absent."""
    numbered: dict[tuple[str, int], set[int]] = {}
    for file in files:
        match = _SHARD.fullmatch(file.name.partition(".")[0])
        if match:
            numbered.setdefault((str(file.with_name(match[1])), int(match[3])), set()).add(int(match[2]))
    if len(numbered) > len({name for name, _ in numbered}):
        name = next(iter(numbered))[0]
        raise DataError([Problem(name, "", "there are shards of two counts; give a pattern for one of them")])
    for (name, count), numbers in numbered.items():
        first = 0 if 0 in numbers or count not in numbers else 1
        absent = sorted(set(range(first, first + count)) - numbers)
        if absent:
            text = f"{len(absent)} of {count} shards are missing, the first is number {absent[0]}"
            raise DataError([Problem(name, "", text)])


def _split_of(file: Path) -> str | None:
    word = re.split(r"[-_.]", file.name)[0]
    return word if word in _SPLITS else None
