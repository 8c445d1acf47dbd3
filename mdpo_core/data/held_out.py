"""Splits the rows of a recipe: those to train on, and those that are held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.picture_keys import row_groups
from mdpo_core.errors import DataError, Problem
from mdpo_core.interfaces.reader import HoldOut

_WHERE = "data.hold_out"


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
    return DataError(
        [Problem(_WHERE, "", f"{text}, and the smallest group has {least}; hold out {least}, or {remedy}")]
    )
