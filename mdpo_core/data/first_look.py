"""Holds rows out of a set that is not checked whole: every row is read for that, but no picture is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from mdpo_core.data.checking import CheckedData, check_data, chosen_rows
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.held_out import held_out_rows
from mdpo_core.data.images import undecoded_images
from mdpo_core.data.picture_keys import keys_of
from mdpo_core.data.validity import wrong_type_in
from mdpo_core.errors import DataError, Problem, blame_on
from mdpo_core.interfaces.reader import HoldOut, Reader
from mdpo_core.types.example import Example
from mdpo_core.types.rows import LazyRows
from mdpo_core.types.stored_bytes import Files, FileState, content_digest, noted_files

_CHUNK = 256  # rows that a worker reads in one go
Progress = Callable[[int, int], object]


@dataclass
class FirstLook:
    """What a set shows without its pixels: ``keys`` and ``sources`` of the rows that could be read, by row.

    ``bad``: the other rows. ``apart``: the rows that are held out. ``files``: what was noted.
    """

    keys: dict[int, bytes] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    bad: dict[int, list[Problem]] = field(default_factory=dict)
    apart: list[int] = field(default_factory=list)
    files: Files = field(default_factory=dict)

    @classmethod
    def at(cls, data: Sequence[Example], hold_out: HoldOut, progress: Progress, num_workers: int) -> FirstLook:
        """Read all rows. Raises `DataError` if no rows can be held out."""
        from mdpo_core.processes.workers import computed_ahead

        found = cls()
        chunks = (range(start, min(start + _CHUNK, len(data))) for start in range(0, len(data), _CHUNK))
        with computed_ahead(_Look(data), chunks, num_workers) as results:
            for row, seen in enumerate(chain.from_iterable(results)):
                found.files.update(seen.files)
                if seen.problems:
                    found.bad[row] = list(seen.problems)
                else:
                    found.keys[row], found.sources[row] = seen.keys, seen.source
                progress(row + 1, len(data))
        if found.keys:
            rows = list(found.keys)
            taken = held_out_rows(list(found.keys.values()), list(found.sources.values()), hold_out)
            found.apart = [rows[index] for index in taken]
        return found


def check_beside_held_out(
    data: Sequence[Example],
    builder: BatchBuilder,
    reader: Reader,
    progress: tuple[Progress, Progress],
    num_workers: int = 0,
) -> CheckedData:
    """Check all rows that ``reader`` holds out, because evaluators read them, and the share that it asks for of others.

    ``progress``: of the first look, and of the check.
    """
    assert reader.hold_out is not None, "a reader that holds rows out"
    look = FirstLook.at(data, reader.hold_out, progress[0], num_workers)
    apart = {*look.apart}
    rest = [row for row in look.keys if row not in apart]
    drawn = {*(chosen_rows(reader.check, len(data)) or ())} & look.keys.keys()
    chosen = sorted({*apart, *rest[:2], *drawn})  # a run begins with the first two
    checked = check_data(data, builder, progress[1], num_workers, chosen=chosen)
    kept = [index for index, row in enumerate(checked.rows) if row not in look.bad]
    rows = [checked.rows[index] for index in kept]
    return replace(
        checked,
        rows=rows,
        lengths=[checked.lengths[index] for index in kept],
        keys=[look.keys[row] for row in rows],
        sources=[look.sources[row] for row in rows],
        bad=dict(sorted({**checked.bad, **look.bad}.items())),
        files={**look.files, **checked.files},
        apart=look.apart,
    )


class _Seen(NamedTuple):
    """What one row shows."""

    problems: Sequence[Problem] = ()
    keys: bytes = b""
    source: str = ""
    files: Sequence[tuple[str, FileState]] = ()


@dataclass(frozen=True)
class _Look:
    """Reads rows, in this process or in a worker."""

    data: Sequence[Example]

    def __call__(self, rows: Sequence[int]) -> list[_Seen]:
        return [self._of(row) for row in rows]

    def _of(self, row: int) -> _Seen:
        place = self.data.place(row) if isinstance(self.data, LazyRows) else f"row {row + 1}"
        with noted_files() as files:
            try:
                with blame_on(place):
                    example = self._undecoded(row) or self.data[row]
            except DataError as error:
                return _Seen([each.at(place) for each in error.problems], files=tuple(files.items()))
        if wrong_type_in(example) is not None:
            return _Seen()  # the check says what is wrong
        return _Seen((), keys_of(example), example.source, tuple(files.items()))

    def _undecoded(self, row: int) -> Example | None:
        """The row with pictures of one pixel; None if the reader needs more of them, or has others."""
        with suppress(Exception), undecoded_images():
            example = self.data[row]
            if all(content_digest(image) is not None for image in example.images):
                return example
        return None
