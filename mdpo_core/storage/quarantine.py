"""The list of rows that are left out, one JSON object a line, and bad rows that are met in training."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import TrainingData
from mdpo_core.errors import DataError, Problem
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import either, option
from mdpo_core.storage.files import atomic_write
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.types.batch import Batch
from mdpo_core.types.rows import LazyRows
from mdpo_core.words.amounts import counted

_log = logging.getLogger(__name__)


def write_quarantine(path: Path, *checks: CheckedData) -> None:
    """List the rows of some checks that are left out: ``row`` (from 1), ``source``, ``file``, ``id``, ``problems``.

    ``source``: that of a mixture; ``id``: null if the row could not be read.
    """
    write_entries(path, [entry for checked in checks for entry in entries_of(checked)])


def write_entries(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the entries of `entries_of`, each on a line."""
    atomic_write(path, "".join(json.dumps(entry, ensure_ascii=True) + "\n" for entry in entries).encode())


def entries_of(checked: CheckedData, first: int = 0) -> Iterator[dict[str, Any]]:
    """The entries of the rows that are left out. ``first``: the number of rows before these in the source."""
    for row in sorted({*checked.bad, *checked.duplicates}):
        if row in checked.bad:
            reasons = [str(problem) for problem in checked.bad[row]]
        else:
            same = checked.place(checked.duplicates[row])
            reasons = [f"{checked.place(row)}: its prompt, answers and pictures are those of {same}"]
        data = checked.data
        source, file = data.origin(row) if isinstance(data, LazyRows) else ("", "")
        yield {"row": first + row + 1, "source": source, "file": file, "id": checked.ids.get(row), "problems": reasons}


@dataclass
class MetRows:
    """The bad rows that were met in training, by their number in the data.

    ``most_bad``: the share of the rows that may be bad. ``quarantine``: the file that lists them.
    """

    checked: CheckedData
    most_bad: float
    quarantine: Path
    world: World
    bad: dict[int, list[Problem]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: TrainingData | None, recipe: Recipe, directory: RunDirectory, world: World) -> MetRows | None:
        """None if all rows were checked before training."""
        if data is None or data.checked is None or not data.builder.checks_rows:
            return None
        return cls(data.checked, recipe.data.most_bad, directory.quarantine, world)

    def meet(self, batches: Sequence[Batch]) -> None:
        """Hear of the batches of a step, in all processes. Raises `DataError` if more rows are bad than may be."""
        mine = {row: problems for batch in batches for row, problems in batch.left_out.items()}
        met = {
            self.checked.rows[row]: list(found) for of_one in self.world.gather(mine) for row, found in of_one.items()
        }
        if met.keys() <= self.bad.keys():
            return
        self.bad = dict(sorted({**self.bad, **met}.items()))
        together = self._together()
        together.require_valid(self.most_bad)
        self._write()
        if self.world.is_main:
            text = "%s of %s are bad and left out so far; %s lists them"
            rows = counted(len(together.rows) + together.num_left_out, "row")
            _log.warning(text, f"{together.num_bad:,}", rows, self.quarantine)

    def state(self) -> list[list[Any]]:
        """The bad rows as JSON values, for a checkpoint."""
        return [[row, [[each.where, each.path, each.message] for each in found]] for row, found in self.bad.items()]

    def restore(self, metadata: Mapping[str, Any]) -> None:
        """Take the bad rows of a checkpoint, so that a resumed run lists and counts them, too."""
        self.bad = {int(row): [Problem(*each) for each in found] for row, found in metadata.get("met", ())}
        if self.bad:
            self._write()

    def _together(self) -> CheckedData:
        return _without(self.checked, self.bad)

    def _write(self) -> None:
        if self.world.is_main:
            held_out = [] if self.checked.held_out is None else [self.checked.held_out]
            write_quarantine(self.quarantine, self._together(), *held_out)


def with_met(checked: CheckedData, met: Mapping[int, list[Problem]]) -> CheckedData:
    """The result of the check with bad rows that were met later, by their index among the valid rows."""
    return _without(checked, {checked.rows[index]: problems for index, problems in met.items()})


def _without(checked: CheckedData, bad: Mapping[int, list[Problem]]) -> CheckedData:
    rows = [row for row in checked.rows if row not in bad]
    return replace(checked, rows=rows, bad=dict(sorted({**checked.bad, **bad}.items())))


def stopped_by(error: DataError, finished: int, streamed: bool) -> DataError:
    """The error of a bad row that ends a run, with what to do."""
    kept = f"a checkpoint of step {finished} is saved" if finished else "no step is lost"
    mend = f"mend them and continue with {option('--resume')}"
    find = either("mdpo check RECIPE --data --set data.check=all", "data.check: all")
    text = f"{kept}. data.check left these rows unchecked; {mend}, or find all bad rows with {find}"
    if streamed:
        text = f"{kept}. The rows of a stream are checked when they are met; {mend}, or "
        text = f"{text}leave them out: data.bad_rows: quarantine"
    return DataError([*error.problems, Problem("", "", text)])
