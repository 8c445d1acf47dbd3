"""Turns rows of data into a new file of pairs: computes and keeps each row, then writes the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import DataError
from mdpo_core.listeners import progress_of
from mdpo_core.make_data.journal import Entry, Journal
from mdpo_core.make_data.new_rows import NewPairsFile, NewRow
from mdpo_core.make_data.source import CheckedInput
from mdpo_core.types.example import Example

if TYPE_CHECKING:
    from mdpo_core.interfaces.reader import Reader


@dataclass(frozen=True)
class NewPairs:
    """The new rows of a data job: those written, the number left out by reason, and the reader of the file.

    ``stale``: numeric columns that describe the old answers; the reader no longer reads them.
    """

    rows: Sequence[NewRow]
    left_out: Mapping[str, int]
    reader: Reader
    stale: Sequence[str] = ()


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """One line for each reason, with the number of rows."""
    return [f"  {number}: {problem}" for problem, number in left_out.items()]


@dataclass(frozen=True)
class DataJob:
    """A command's work on rows of data: compute an entry for each row, then write the new file.

    ``data``: the rows as their reader gives them. ``key``: everything that the results depend on. ``compute(indices)``
    gives the entries of ``at_once`` valid rows: new responses and columns, or why a row is left out. ``finish`` may add
    columns that depend on all rows. ``replaces``: the new rows only have the new responses.
    """

    stage: str
    source: CheckedInput
    data: Sequence[Example]
    key: Mapping[str, Any]
    compute: Callable[[Sequence[int]], Sequence[Entry]]
    at_once: int = 1
    finish: Callable[[list[NewRow]], list[NewRow]] = lambda rows: rows
    replaces: bool = False

    def write(self, out: Path) -> NewPairs | None:
        """Compute the missing entries and write the file. Returns None if an earlier call wrote it.

        Raises `CheckpointError` if ``out`` has other content, `DataError` if every row is left out, and `RunStopped`
        after a SIGTERM or SIGINT.
        """
        valid_rows = self.source.checked.rows
        new = NewPairsFile(out, self.data, next(iter(valid_rows), 0), self.replaces)
        new.require_alike(dict(zip(reversed(self.source.checked.sources), reversed(valid_rows), strict=True)).values())
        journal = Journal(out, self.key, valid_rows, self.at_once)
        if journal.is_finished():
            journal.close()
            return None
        if not journal.is_begun():
            new.require_free()
        # The journal stays held until the file is written: a second command must not write the same file.
        with journal.filled(self.compute, progress_of(self.stage)) as entries:
            made = None if entries is None else self._written(new, entries)
            journal.close()
        return made

    def _written(self, new: NewPairsFile, entries: Sequence[Entry]) -> NewPairs:
        rows = [
            NewRow(entry["row"] - 1, entry["responses"], entry["columns"])
            for entry in entries
            if "problem" not in entry
        ]
        left_out = Counter(entry["problem"] for entry in entries if "problem" in entry)
        if not rows:
            message = f"{new.path}: every row was left out, so nothing was written"
            raise DataError("\n".join([message, *left_out_lines(left_out)]))
        rows = self.finish(rows)
        return NewPairs(rows, left_out, new.write(rows), new.stale(rows))
