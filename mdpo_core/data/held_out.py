"""Splits the rows of a recipe: those to train on, and those that are held out.

In a set that is not checked whole, every row is read once for that, but no picture is decoded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from mdpo_core.data.checking import CheckedData, check_data, chosen_rows
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.pictures.images import undecoded_images
from mdpo_core.data.pictures.keys import keys_of, row_groups
from mdpo_core.data.validity import wrong_type_in
from mdpo_core.errors import DataError, Problem, blame_on
from mdpo_core.interfaces.reader import HoldOut, Reader
from mdpo_core.types.example import Example
from mdpo_core.types.rows import place_in
from mdpo_core.types.stored_bytes import Files, FileState, content_digest, noted_files

_WHERE = "data.hold_out"
_CHUNK = 256  # rows that a worker reads in one go
Progress = Callable[[int, int], object]


def split(checked: CheckedData, hold_out: HoldOut) -> CheckedData:
    """The rows to train on, with the others as ``held_out``. Raises `DataError` if one of the two would be empty."""
    return _parted(checked, held_out_rows(checked.keys, checked.sources, hold_out))


def split_at(checked: CheckedData, rows: Sequence[int]) -> CheckedData:
    """The same for the numbers of the rows that are held out, of which some may have turned out to be bad."""
    apart = set(rows)
    held_out = [index for index, row in enumerate(checked.rows) if row in apart]
    if not held_out or len(held_out) == len(checked.rows):
        which = "held out" if not held_out else "left to train on"
        raise DataError([Problem(_WHERE, "", f"all rows that are {which} are bad; mend them, or choose another seed")])
    return _parted(checked, held_out)


def _parted(checked: CheckedData, held_out: Sequence[int]) -> CheckedData:
    """``held_out``: indices of valid rows."""
    apart = set(held_out)
    rest = [index for index in range(len(checked.rows)) if index not in apart]
    return replace(
        checked.of(rest),
        bad=checked.bad,
        ids=checked.ids,
        duplicates=checked.duplicates,
        held_out=checked.of(held_out),
    )


def held_out_rows(keys: Sequence[bytes], sources: Sequence[str], hold_out: HoldOut) -> list[int]:
    """The indices of the rows that are held out, ascending. Raises `DataError` if none could be, or all would be.

    ``keys``: see `keys_of`; ``sources``: of each row. Groups of rows that share a picture stay together. They are
    shuffled by the seed, and each is taken if that brings the number of rows of its sources nearer to their targets.
    The order of the rows does not matter.
    """
    wanted = _num_wanted(hold_out, len(keys))
    names = row_groups(keys)
    members: dict[bytes, list[int]] = {}
    for row, name in enumerate(names):
        members.setdefault(name, []).append(row)
    targets = targets_of(Counter(sources), wanted)
    taken = [row for rows in _taken(members, sources, targets, hold_out.seed) for row in rows]
    if not taken or len(taken) == len(keys):
        raise _impossible(members, wanted, len(keys))
    return sorted(taken)


def targets_of(counts: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many rows of each source are held out: in proportion, at least one if the source has two and there is room.

    ``counts``: rows by source; ``wanted``: rows in all.
    """
    total = sum(counts.values())
    shares = {source: wanted * count / total for source, count in sorted(counts.items())}
    least = {source: int(wanted >= len(shares) and counts[source] > 1) for source in shares}
    targets = {source: max(least[source], int(share)) for source, share in shares.items()}
    while sum(targets.values()) > wanted:
        targets[max((s for s in shares if targets[s] > least[s]), key=lambda s: targets[s] - shares[s])] -= 1
    while sum(targets.values()) < wanted:
        targets[max(shares, key=lambda s: shares[s] - targets[s])] += 1
    return targets


def _num_wanted(hold_out: HoldOut, num_rows: int) -> int:
    if hold_out.rows is None:
        assert hold_out.share is not None, "an option that its validator requires"
        return max(1, min(num_rows - 1, round(hold_out.share * num_rows)))
    if hold_out.rows >= num_rows:
        text = f"{hold_out.rows} of {num_rows} sound rows would leave none to train on; hold out fewer"
        raise DataError([Problem(_WHERE, "rows", text)])
    return hold_out.rows


def _taken(
    members: Mapping[bytes, list[int]], sources: Sequence[str], targets: Mapping[str, int], seed: int
) -> list[list[int]]:
    left, taken = dict(targets), []
    start = f"{seed}|".encode()
    for name in sorted(members, key=lambda name: hashlib.sha256(start + name).digest()):
        if not any(number > 0 for number in left.values()):
            break  # no group can bring them nearer
        of_rows = [sources[row] for row in members[name]]
        counts = [(each, of_rows.count(each)) for each in set(of_rows)]
        if sum(abs(left[each] - count) - abs(left[each]) for each, count in counts) < 0:
            taken.append(members[name])
            left |= {each: left[each] - count for each, count in counts}
    return taken


def _impossible(members: Mapping[bytes, list[int]], wanted: int, num_rows: int) -> DataError:
    remedy = "read other rows with validation: {reader: ...} instead"
    if len(members) == 1:
        text = f"all {num_rows} rows share one picture, or one prompt without a picture, so none can be held out alone"
        return DataError([Problem(_WHERE, "", f"{text}; {remedy}")])
    least = min(map(len, members.values()))
    text = f"{wanted} of {num_rows} rows cannot be held out: rows that share a picture stay together"
    possible = f"{least}" if num_rows == 2 * least else f"{least} to {num_rows - least}"
    return DataError(
        [Problem(_WHERE, "", f"{text}, and the smallest group has {least}; hold out {possible}, or {remedy}")]
    )


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

    def added_to(self, checked: CheckedData) -> CheckedData:
        """The result of a check of some rows, with what is known of the others."""
        kept = [index for index, row in enumerate(checked.rows) if row not in self.bad]
        rows = [checked.rows[index] for index in kept]
        return replace(
            checked,
            rows=rows,
            lengths=[checked.lengths[index] for index in kept],
            keys=[self.keys[row] for row in rows],
            sources=[self.sources[row] for row in rows],
            bad=dict(sorted({**checked.bad, **self.bad}.items())),
            files={**self.files, **checked.files},
            apart=self.apart,
        )


def check_some(
    check: Callable[[Sequence[int]], CheckedData], chosen: Sequence[int], apart: Collection[int] = ()
) -> CheckedData:
    """The result of ``check(chosen)``, or of more rows, so that the first two sound rows are among those.

    A run begins with them: two rows are encoded, and scored together, before it trains. Rows that are ``apart``, which
    are held out, do not count.
    """
    size = 2
    while True:
        checked = check(chosen)
        sound = [row for row in checked.rows if row not in apart]
        if {*sound[:2]} <= {*chosen}:
            return checked
        size *= 4  # the first rows are bad: few checks find others
        chosen = sorted({*chosen, *sound[:size]})


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

    def check(chosen: Sequence[int]) -> CheckedData:
        return look.added_to(check_data(data, builder, progress[1], num_workers, chosen=chosen))

    return check_some(check, sorted({*apart, *rest[:2], *drawn}), apart)


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
        place = place_in(self.data, row)
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
