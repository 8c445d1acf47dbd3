"""Which files a path means: one file, the files of a pattern, or the shards in a folder."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mdpo_core import DataError, Problem
from mdpo_readers.tables.files.packed_files import is_packed, kind_of

# With the hash that the hub once put behind.
_SHARD = re.compile(r"(.*)[-_](\d+)[-_]of[-_](\d+)(-[0-9a-f]+)?")
# The words in the names of files that belong to a split, and its name, as `datasets` knows them.
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_BETWEEN_WORDS = re.compile(r"[-_. ]|\d+")
# A folder that save_to_disk wrote contains one of these files.
SAVED = frozenset(("state.json", "dataset_dict.json"))
# Files beside the data that tell about them.
_METADATA = ("config.json", "dataset_info.json", "dataset_infos.json", "meta.json")


def matching(pattern: str, split: str) -> list[Path]:
    """The files of a split that match a pattern, in the order of their names. Raises `DataError` if there is none."""
    found = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    require_links(found)
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError([Problem(pattern, "", "no file matches this pattern")])
    chosen = _of_split(pattern, files, split)
    require_all_shards(chosen)
    return chosen


def shards_in(folder: Path, split: str, kinds: Sequence[str]) -> list[Path]:
    """The files of a folder whose rows are stored in one of these ``kinds``, all of the same, of one split.

    Empty if there is none of these kinds. Raises `DataError` if it is unclear which files belong together.
    """
    named = [file for file in sorted(folder.iterdir()) if _may_have_rows(file, kinds)]
    require_links(named)
    files = [file for file in named if file.is_file()]
    chosen = _of_split(str(folder), files, split) if files else []
    found = sorted({kind_of(file) for file in chosen})
    if len(found) > 1:
        text = f"contains files of several kinds: {', '.join(found)}; give a pattern, such as {folder}/*{found[0]}"
        raise DataError([Problem(str(folder), "", text)])
    stems = [file.name.removesuffix(file.suffix) if is_packed(file) else file.name for file in chosen]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise DataError([Problem(str(folder), "", f"contains {twice} both packed and unpacked; give a pattern")])
    require_all_shards(chosen)
    return chosen


def _of_split(source: str, files: Sequence[Path], split: str) -> list[Path]:
    """The files whose names have the split's word; all, if no name has one, and ``source`` is a folder of that name."""
    splits = {_split_of(file) for file in files}
    if splits == {None}:
        if split not in ("train", Path(source).name):
            raise DataError([Problem(source, "", f"no file is named for the split '{split}'")])
        return list(files)
    if None in splits:
        other, named = (next(each.name for each in files if bool(_split_of(each)) is has) for has in (False, True))
        text = f"some files are named for a split, such as {named}, and others are not, such as {other}; give a pattern"
        raise DataError([Problem(source, "", text)])
    if canonical(split) not in splits:
        there = ", ".join(sorted(str(each) for each in splits))
        raise DataError(
            [Problem(source, "", f"no file belongs to the split '{split}'; set data.split  (splits: {there})")]
        )
    return [file for file in files if _split_of(file) == canonical(split)]


def canonical(split: str) -> str:
    """The name of a split: ``validation`` for ``dev``; a name of somebody's own stays."""
    return _SPLITS.get(split, split)


def require_none_below(folder: Path, files: Sequence[Path], split: str, kinds: Sequence[str]) -> None:
    """Raise `DataError` if folders below have files with rows of the split, beside ``files`` of the folder itself.

    ``kinds``: the endings of files with rows.
    """
    found = next(_below(folder, split, kinds), None)
    if found is None:
        return
    own = f"{folder}/*{_ending(files[0])}"
    others = f"{folder}/**/*{_ending(files[0])}"
    if _ending(found) != _ending(files[0]):
        others = f"[{own}, {found.parent}/*{_ending(found)}]"
    text = f"has data in folders below, too, such as {found}; write path: {others} to read all, or path: {own} to read "
    raise DataError([Problem(str(folder), "", text + "only the files of the folder itself")])


def _below(folder: Path, split: str, kinds: Sequence[str]) -> Iterator[Path]:
    """The files with rows in the folders below; not in one that is hidden, saved by `datasets`, or of another split."""
    for place, folders, names in os.walk(folder):
        inner = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not is_of_another(name, split))
        if inner == folder or not SAVED.isdisjoint(names):
            continue
        files = (inner / name for name in sorted(names))
        yield from (
            each for each in files if _may_have_rows(each, kinds) and _split_of(each) in (None, canonical(split))
        )


def is_of_another(folder: str, split: str) -> bool:
    """Whether a folder is named for another split."""
    return _SPLITS.get(folder, canonical(split)) != canonical(split)


def _may_have_rows(file: Path, kinds: Sequence[str]) -> bool:
    return not file.name.startswith(".") and file.name not in _METADATA and kind_of(file) in kinds


def _ending(file: Path) -> str:
    """The ending of a file as it is written, with that of its packing."""
    return "".join(file.suffixes[-2:]) if is_packed(file) else file.suffix


def require_links(files: Iterable[Path]) -> None:
    """Raise `DataError` if one of these is a link to a file that does not exist."""
    for file in files:
        if file.is_symlink() and not file.exists():
            text = f"is a link to '{file.readlink()}', which does not exist; copy the file there, or remove the link"
            raise DataError([Problem(str(file), "", text)])


def require_once(files: Sequence[Path], seen: set[Path]) -> None:
    """Add files to those that were seen. Raises `DataError` for one that is there already, under any name."""
    for file in files:
        real = file.resolve()
        if real in seen:
            text = "would be read twice: data.path names it twice; to read rows twice, use the reader mixture"
            raise DataError([Problem(str(file), "", text)])
        seen.add(real)


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
    """The split that a word in the name of a file says, the first of them; None if there is none."""
    words = _BETWEEN_WORDS.split(file.name.casefold())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)
