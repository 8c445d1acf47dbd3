"""Patterns with braces, as WebDataset writes them: ``shards-{000..003}.tar`` and ``{boats,cats}.jsonl``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mdpo_core import DataError, Problem

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}", re.ASCII)
_LIST = re.compile(r"\{([^{},]+(?:,[^{},]+)+)\}")
_MOST = 100_000  # files


def are_in(path: str) -> bool:
    """Whether a path has braces that stand for several files."""
    return bool(_RANGE.search(path) or _LIST.search(path))


def expanded(path: str) -> list[str]:
    """All paths that a path with braces means, in order. Raises `DataError` if they are too many, or none."""
    paths = [path]
    while any(map(are_in, paths)):
        paths = [each for one in paths for each in _expanded_once(one)]
        if len(paths) > _MOST:
            raise DataError([Problem(path, "", f"means more than {_MOST} files")])
    if not paths:
        raise DataError([Problem(path, "", "means no file: in {FROM..TO}, TO must not be below FROM")])
    return paths


def _expanded_once(path: str) -> Iterator[str]:
    found = _RANGE.search(path)
    if found:
        first, last = found.groups()
        names = (f"{number:0{len(first)}}" for number in range(int(first), min(int(last), int(first) + _MOST) + 1))
    else:
        found = _LIST.search(path)
        if not found:
            yield path
            return
        names = (each for each in found[1].split(","))
    for name in names:
        yield path[: found.start()] + name + path[found.end() :]
