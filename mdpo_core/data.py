"""The data of a run: every row read and checked once, before a model is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from mdpo_core.encoding import BatchBuilder
from mdpo_core.errors import DataError, Problem
from mdpo_core.example import Example
from mdpo_core.validity import row_problems

SHOWN = 20


class Rows(Sequence[Example]):
    """Some rows of some data."""

    def __init__(self, data: Sequence[Example], rows: Sequence[int]) -> None:
        self._data = data
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Rows(self._data, self._rows[index])
        return self._data[self._rows[index]]


@dataclass
class CheckedData:
    """Data, the numbers of its sound rows, and what is wrong with the others.

    ``digest`` covers what is trained on: ids, prompts, responses, columns and pixels of the sound rows.
    """

    data: Sequence[Example]
    rows: list[int] = field(default_factory=list)
    bad: dict[int, list[Problem]] = field(default_factory=dict)
    digest: str = ""

    @property
    def num_bad(self) -> int:
        return len(self.bad)

    def sound(self) -> Sequence[Example]:
        """The rows to train on."""
        return Rows(self.data, self.rows)

    def require_sound(self, quarantine: bool) -> None:
        """Raise `DataError` with the problems, unless they may be put in quarantine and some rows are left."""
        if not self.bad or (quarantine and self.rows):
            return
        found = [problem for problems in self.bad.values() for problem in problems]
        rest = [Problem("", "", f"... and {len(found) - SHOWN} more")] if len(found) > SHOWN else []
        raise DataError(found[:SHOWN] + rest)

    def write_quarantine(self, path: Path) -> None:
        """List the bad rows, one JSON object a line: row number (from 1) and problems."""
        with path.open("w") as file:
            for row, problems in self.bad.items():
                file.write(json.dumps({"row": row + 1, "problems": [str(problem) for problem in problems]}) + "\n")


def check_data(data: Sequence[Example], builder: BatchBuilder, progress: Callable[[int, int], object]) -> CheckedData:
    """Read and encode every row, as training will; the corruptions are left to it."""
    checked = CheckedData(data)
    clean = builder.clean()
    digest = hashlib.sha256()
    seen: dict[str, int] = {}
    for row in range(len(data)):
        try:
            example = data[row]
            _require_sound(example, row, seen)
            clean.encode(example, data, epoch=0)
            for part in _content(example):
                digest.update(part)
            checked.rows.append(row)
        except DataError as error:
            checked.bad[row] = [_located(problem, row) for problem in error.problems]
        progress(row + 1, len(data))
    checked.digest = digest.hexdigest()
    return checked


def _require_sound(example: Example, row: int, seen: dict[str, int]) -> None:
    found = row_problems(example)
    if seen.setdefault(example.id, row) != row:
        found.append(f"id '{example.id}' is that of row {seen[example.id] + 1}, too")
    if found:
        raise DataError([Problem("", "", text) for text in found])


def _located(problem: Problem, row: int) -> Problem:
    return problem if problem.where else Problem(f"row {row + 1}", problem.path, problem.message)


def _content(example: Example) -> Iterator[bytes]:
    texts = [example.id, example.prompt, sorted(example.responses.items()), sorted(example.columns.items())]
    yield json.dumps(texts).encode()
    for image in example.images:
        yield f"{image.mode}{image.size}".encode()
        yield image.tobytes()
